package apiserver

import (
	"context"
	"time"
)

// busyGap is how close together a busy watch's flushes would be. Each flush costs the server and the client
// several times what an event costs them, so a busy watch gathers events for that long, which nobody notices.
const busyGap = 5 * time.Millisecond

// A pacer spaces a watch's flushes out while changes come in quick succession. A change that comes after a quiet
// moment, and the one behind it, are sent at once.
type pacer struct{ last time.Time } // end of the last flush, or of the rest after it

// rest is called after each flush. It returns at once unless the flush before was less than busyGap ago.
func (p *pacer) rest(ctx context.Context) {
	now := time.Now()
	busy := now.Sub(p.last) < busyGap
	p.last = now
	if !busy {
		return
	}
	timer := time.NewTimer(busyGap)
	defer timer.Stop()
	select {
	case p.last = <-timer.C:
	case <-ctx.Done():
	}
}
