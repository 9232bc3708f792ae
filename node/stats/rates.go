package stats

import (
	"sync"
	"time"
)

// rates remembers the last total of each thing's CPU time, so that a summary can tell its rate.
type rates struct {
	mu   sync.Mutex
	last map[string]sample
}

type sample struct {
	at    time.Time
	total uint64
	rate  uint64
	known bool
}

// of returns the rate in nanocores since the last call for key; known is false at the first. Totals that
// are asked for in quick succession keep the rate of the longer span before.
func (r *rates) of(key string, at time.Time, total uint64) (rate uint64, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]sample{}
	}
	old, ok := r.last[key]
	span := at.Sub(old.at)
	if ok && span < time.Second {
		return old.rate, old.known
	}
	next := sample{at: at, total: total}
	if ok && total >= old.total {
		next.rate, next.known = uint64(float64(total-old.total)/span.Seconds()), true
	}
	r.last[key] = next
	return next.rate, next.known
}

// keep forgets what was not asked for since before.
func (r *rates) keep(before time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, s := range r.last {
		if s.at.Before(before) {
			delete(r.last, k)
		}
	}
}
