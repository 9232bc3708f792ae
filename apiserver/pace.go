package apiserver

import (
	"context"
	"sync/atomic"
	"time"
)

// Each flush of a watch costs the server and its client many times what an event costs them. Where many watches
// are busy at the same time, each therefore gathers events before it flushes: the flushes of all of them come to
// no more than one in flushEvery, unless that would hold an event up for longer than maxRest. A few busy watches
// are hardly held up, and a quiet one never.
const (
	busyWithin = 10 * time.Millisecond // a watch with flushes closer together than this is busy
	flushEvery = 100 * time.Microsecond
	minRest    = time.Millisecond // less is not worth a timer
	maxRest    = 20 * time.Millisecond
)

// A pacer spaces the flushes of one watch out.
type pacer struct {
	busy   *atomic.Int64 // busy watches of the server
	isBusy bool          // this one is counted among them
	last   time.Time     // end of the last flush, or of the rest after it
}

// rest is called after each flush. It takes time only in a busy watch.
func (p *pacer) rest(ctx context.Context) {
	now := time.Now()
	p.count(now.Sub(p.last) < busyWithin)
	p.last = now
	rest := min(time.Duration(p.busy.Load())*flushEvery, maxRest)
	if !p.isBusy || rest < minRest {
		return
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case p.last = <-timer.C:
	case <-ctx.Done():
	}
}

func (p *pacer) count(busy bool) {
	switch {
	case busy && !p.isBusy:
		p.busy.Add(1)
	case !busy && p.isBusy:
		p.busy.Add(-1)
	}
	p.isBusy = busy
}

// end is called when the watch ends.
func (p *pacer) end() { p.count(false) }
