package fairness

// A backoff decides how many seconds a rejected client is told to wait: the longer the server is
// overloaded, the more, as TCP does. The zero value is ready. It is upstream's algorithm.
type backoff struct {
	history []rejections
	current rejections // of the second that runs
	retry   int64      // seconds; 0 stands for 1
	raised  int64      // second of the last increase
}

type rejections struct{ second, count int64 }

const maxRetry = 32

func (b *backoff) seconds() int64 { return max(1, b.retry) }

// reject counts a rejection at the time now, in seconds.
func (b *backoff) reject(now int64) {
	if b.current.second == now {
		b.current.count++
		return
	}
	b.history = append(b.history, b.current)
	kept := min(2*b.seconds(), maxRetry)
	for len(b.history) > 0 && b.current.second-b.history[0].second > kept {
		b.history = b.history[1:]
	}
	b.current = rejections{now, 1}
	b.adjust(now)
}

func (b *backoff) adjust(now int64) {
	retry, recent := b.seconds(), int64(0)
	for _, r := range b.history {
		if now-r.second <= retry && r.second < now {
			recent += r.count
		}
	}
	switch {
	case now-b.raised >= retry && recent >= 3*retry:
		b.retry, b.raised = min(2*retry, maxRetry), now
	case recent < retry && retry > 1:
		b.retry = retry - 1
	}
}
