package lifecycle

import "time"

// The pauses between restarts of a failing container and between pulls of a failing image: doubling, and
// forgotten after twice the longest there may be. Upstream's figures.
const (
	initialBackoff = 10 * time.Second
	MaxBackoff     = 5 * time.Minute
	forgetBackoff  = 2 * MaxBackoff
)

// Backoff is how long to wait after the next failure. The zero value does not wait.
type Backoff struct {
	Delay time.Duration
	Set   time.Time // when Delay was last raised
}

// Until returns when something that ended at the time end may be tried again; end itself means at once.
func (b Backoff) Until(end time.Time) time.Time {
	if b.Delay == 0 || end.Sub(b.Set) > forgetBackoff {
		return end
	}
	return end.Add(b.Delay)
}

// Raise notes an attempt made at now, after a failure that ended at the time end. No pause is longer than most.
func (b *Backoff) Raise(end, now time.Time, most time.Duration) {
	if b.Delay == 0 || end.Sub(b.Set) > forgetBackoff {
		b.Delay = min(initialBackoff, most)
	} else {
		b.Delay = min(2*b.Delay, most)
	}
	b.Set = now
}
