package apiserver

import (
	"context"
	"sync/atomic"
	"time"
)

// Each flush of a watch costs the server and its client several times what an event costs them. Where many watch,
// a busy watch therefore gathers events for gapPerWatch times the number of open watches, maxGap at most: the
// flushes of all of them take a bounded part of the processors, and a few watches are never held up.
const (
	gapPerWatch = 50 * time.Microsecond
	minGap      = time.Millisecond // less is not worth a timer
	maxGap      = 10 * time.Millisecond
)

// A pacer spaces a watch's flushes out while changes come in quick succession. A change that comes after a quiet
// moment, and the one behind it, are sent at once.
type pacer struct {
	open *atomic.Int64 // watches of the server
	last time.Time     // end of the last flush, or of the rest after it
}

// rest is called after each flush. It returns at once unless the flush before was just now.
func (p *pacer) rest(ctx context.Context) {
	gap := min(time.Duration(p.open.Load())*gapPerWatch, maxGap)
	if gap < minGap {
		return
	}
	now := time.Now()
	busy := now.Sub(p.last) < gap
	p.last = now
	if !busy {
		return
	}
	timer := time.NewTimer(gap)
	defer timer.Stop()
	select {
	case p.last = <-timer.C:
	case <-ctx.Done():
	}
}
