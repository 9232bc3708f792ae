package apiserver

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPacer has changes come at given times and looks at when they are sent.
func TestPacer(t *testing.T) {
	for name, test := range map[string]struct {
		others           int64 // watches that are busy all the time
		changes, flushes []int // milliseconds since the start
	}{
		"no others":         {0, []int{20, 21, 22, 23}, []int{20, 21, 22, 23}},
		"quiet":             {99, []int{20, 40, 60}, []int{20, 40, 60}},
		"two at once":       {99, []int{20, 21}, []int{20, 21}},
		"a burst":           {99, []int{20, 21, 22, 23, 28, 33, 60}, []int{20, 21, 31, 41, 60}},
		"a limit":           {1000, []int{20, 21, 22, 30, 45}, []int{20, 21, 41, 61}},
		"quiet after burst": {99, []int{20, 21, 60, 80}, []int{20, 21, 60, 80}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var busy atomic.Int64
				busy.Store(test.others)
				if got := flushes(&pacer{busy: &busy}, test.changes); !slices.Equal(got, test.flushes) {
					t.Errorf("flushes at %v ms, want %v", got, test.flushes)
				}
				if n := busy.Load(); n != test.others {
					t.Errorf("%d watches count as busy after the end, want %d", n, test.others)
				}
			})
		})
	}
}

// flushes returns when a watch flushes whose changes come at the given times.
func flushes(p *pacer, changes []int) (at []int) {
	defer p.end()
	start := time.Now()
	for len(changes) > 0 {
		time.Sleep(time.Duration(changes[0])*time.Millisecond - time.Since(start))
		now := int(time.Since(start).Milliseconds())
		for len(changes) > 0 && changes[0] <= now {
			changes = changes[1:] // what has come goes out together
		}
		at = append(at, now)
		p.rest(context.Background())
	}
	return at
}

// TestPacerEnds: a client that leaves is not waited for.
func TestPacerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var busy atomic.Int64
		busy.Store(99)
		start := time.Now()
		p := pacer{busy: &busy, last: start}
		cancel()
		p.rest(ctx)
		if took := time.Since(start); took != 0 {
			t.Fatalf("rested %v after the watch had ended", took)
		}
	})
}
