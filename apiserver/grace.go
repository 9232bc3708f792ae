package apiserver

import (
	"context"
	"time"
)

// watchesASecond is how many watches end in a second, at least, when the server closes gracefully. Upstream's figure.
const watchesASecond = 200

// endsBy says what ends q, a watch.
func (f *inflight) endsBy(q *request, end context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q.end = end
}

// endWatches takes no more watches and ends those that there are, oldest first, one after the other within grace.
// Without grace it does nothing.
func (f *inflight) endWatches(grace time.Duration) {
	if grace <= 0 {
		return
	}
	ends := f.watchEnds()
	if len(ends) == 0 {
		return
	}
	tick := time.NewTicker(min(time.Second/watchesASecond, grace/time.Duration(len(ends))))
	defer tick.Stop()
	for _, end := range ends {
		end()
		<-tick.C
	}
}

// watchEnds takes no more watches and returns what ends those that there are.
func (f *inflight) watchEnds() (ends []context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ending = true
	for q := f.long.head; q != nil; q = q.next {
		if q.end != nil && q.info.Verb == "watch" {
			ends = append(ends, q.end)
		}
	}
	return ends
}
