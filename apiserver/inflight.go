package apiserver

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// inflight knows every request that is being served. It needs no timer for each: requests are in order of
// arrival, and a look at the oldest from time to time finds those whose time is up. Their connections are
// told to give up reading and writing, so that a client that sends or takes its bytes too slowly, or none,
// costs nothing lasting.
type inflight struct {
	mu      sync.Mutex
	short   requests // oldest first
	long    requests
	closed  bool
	ending  bool          // no more watches are taken
	drained chan struct{} // closed when the server is closing and no short request is left
	counts  [2]watermark  // reads, writes
}

// requests is a list of requests in order of arrival.
type requests struct{ head, tail *request }

func (l *requests) push(q *request) {
	if q.prev = l.tail; q.prev != nil {
		q.prev.next = q
	} else {
		l.head = q
	}
	l.tail = q
}

func (l *requests) remove(q *request) {
	if q.prev != nil {
		q.prev.next = q.next
	} else {
		l.head = q.next
	}
	if q.next != nil {
		q.next.prev = q.prev
	} else {
		l.tail = q.prev
	}
	q.prev, q.next = nil, nil
}

// A watermark is the most of something in the last second.
type watermark struct {
	now, high, before int
	second            int64
}

func (w *watermark) add(by int, second int64) {
	if second != w.second {
		w.before, w.high, w.second = w.high, w.now, second
	}
	w.now += by
	w.high = max(w.high, w.now)
}

func (w *watermark) last(second int64) int {
	switch second - w.second {
	case 0:
		return max(w.high, w.before)
	case 1:
		return w.high
	}
	return w.now
}

func (in *info) writes() int {
	switch in.Verb {
	case "get", "list", "watch":
		return 0
	}
	return 1
}

// enter takes q in; false: the server is closing and takes no more.
func (f *inflight) enter(q *request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.long {
		if f.ending && q.info.Verb == "watch" {
			return false
		}
		f.long.push(q)
		return true
	}
	if f.closed {
		return false
	}
	f.short.push(q)
	f.counts[q.info.writes()].add(1, q.start.Unix())
	return true
}

// prolong says that q will last for as long as its client likes.
func (f *inflight) prolong(q *request) {
	if q.long {
		return
	}
	f.leave(q, time.Now())
	q.long = true
	f.enter(q)
}

func (f *inflight) leave(q *request, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.long {
		f.long.remove(q)
		return
	}
	f.short.remove(q)
	f.counts[q.info.writes()].add(-1, now.Unix())
	f.checkDrainedLocked()
}

func (f *inflight) checkDrainedLocked() {
	if f.closed && f.short.head == nil && f.drained != nil {
		close(f.drained)
		f.drained = nil
	}
}

// drain takes no more short requests and waits until those that are there have been answered.
func (f *inflight) drain(ctx context.Context) error {
	done := make(chan struct{})
	f.mu.Lock()
	f.closed, f.drained = true, done
	f.checkDrainedLocked()
	f.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const (
	// sweepEvery is how much longer than allowed a request may last.
	sweepEvery = 5 * time.Second
	// lastWords is how long a client may take to hear that its time is up.
	lastWords = 2 * time.Second
	// writeLimit is how long a watch waits for a client that takes nothing.
	writeLimit = time.Minute
)

// sweep cuts off requests that have lasted for longer than limit, and watches that nobody reads, until ctx ends.
func (f *inflight) sweep(ctx context.Context, limit time.Duration, cut func(*request)) {
	tick := time.NewTicker(min(sweepEvery, limit))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			f.expire(now, limit, cut)
		}
	}
}

// expire holds the lock while connections are told, for a request that has left must not be touched.
func (f *inflight) expire(now time.Time, limit time.Duration, cut func(*request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for q := f.short.head; q != nil && now.Sub(q.start) > limit; q = q.next {
		f.cutLocked(q, cut)
	}
	for q := f.long.head; q != nil; q = q.next {
		if since := q.writing.Load(); since != 0 && now.Sub(time.Unix(0, since)) > writeLimit {
			f.cutLocked(q, cut)
		}
	}
}

func (f *inflight) cutLocked(q *request, told func(*request)) {
	if q.cut.Swap(true) {
		return
	}
	c := http.NewResponseController(q.w)
	now := time.Now()
	_ = c.SetReadDeadline(now) // a connection that cannot is one of a test
	_ = c.SetWriteDeadline(now.Add(lastWords))
	told(q)
}

// most returns the most reads and writes at a time in the last second.
func (f *inflight) most(now time.Time) (reads, writes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[0].last(now.Unix()), f.counts[1].last(now.Unix())
}
