package podworker

import "time"

// The pauses between restarts of a failing container and between pulls of a failing image: doubling, and
// forgotten after twice the longest. Upstream's figures.
const (
	initialBackoff = 10 * time.Second
	maxBackoff     = 5 * time.Minute
)

// Backoff is how long to wait after the next failure. The zero value does not wait.
type Backoff struct {
	Delay time.Duration
	Set   time.Time // when Delay was last raised
}

// until returns when something that ended at the time end may be tried again; end itself means at once.
func (b Backoff) until(end time.Time) time.Time {
	if b.Delay == 0 || end.Sub(b.Set) > 2*maxBackoff {
		return end
	}
	return end.Add(b.Delay)
}

// raise notes an attempt made at now, after a failure that ended at the time end.
func (b *Backoff) raise(end, now time.Time) {
	if b.Delay == 0 || end.Sub(b.Set) > 2*maxBackoff {
		b.Delay = initialBackoff
	} else {
		b.Delay = min(2*b.Delay, maxBackoff)
	}
	b.Set = now
}
