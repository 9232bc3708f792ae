package apiserver

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPacer has changes come at given times and looks at when they are sent.
func TestPacer(t *testing.T) {
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		watches int64
		changes []time.Duration // since the start
		flushes []time.Duration
	}{
		"few watches":       {10, []time.Duration{10 * ms, 11 * ms, 12 * ms, 13 * ms}, []time.Duration{10 * ms, 11 * ms, 12 * ms, 13 * ms}},
		"very many":         {1000, []time.Duration{10 * ms, 11 * ms, 12 * ms, 20 * ms, 30 * ms}, []time.Duration{10 * ms, 11 * ms, 21 * ms, 31 * ms}},
		"quiet":             {100, []time.Duration{10 * ms, 20 * ms, 30 * ms}, []time.Duration{10 * ms, 20 * ms, 30 * ms}},
		"two at once":       {100, []time.Duration{10 * ms, 11 * ms}, []time.Duration{10 * ms, 11 * ms}},
		"a burst":           {100, []time.Duration{10 * ms, 11 * ms, 12 * ms, 13 * ms, 14 * ms, 17 * ms}, []time.Duration{10 * ms, 11 * ms, 16 * ms, 21 * ms}},
		"quiet after burst": {100, []time.Duration{10 * ms, 11 * ms, 40 * ms, 50 * ms}, []time.Duration{10 * ms, 11 * ms, 40 * ms, 50 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				p := pacer{open: watches(test.watches)}
				var flushes []time.Duration
				for left := test.changes; len(left) > 0; {
					time.Sleep(left[0] - time.Since(start))
					for len(left) > 0 && left[0] <= time.Since(start) {
						left = left[1:] // what has come goes out together
					}
					flushes = append(flushes, time.Since(start))
					p.rest(context.Background())
				}
				if len(flushes) != len(test.flushes) {
					t.Fatalf("flushes at %v, want %v", flushes, test.flushes)
				}
				for i := range flushes {
					if flushes[i] != test.flushes[i] {
						t.Fatalf("flushes at %v, want %v", flushes, test.flushes)
					}
				}
			})
		})
	}
}

// TestPacerEnds: a client that leaves is not waited for.
func TestPacerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		p := pacer{open: watches(100), last: start}
		cancel()
		p.rest(ctx)
		if took := time.Since(start); took != 0 {
			t.Fatalf("rested %v after the watch had ended", took)
		}
	})
}

func watches(n int64) *atomic.Int64 {
	open := &atomic.Int64{}
	open.Store(n)
	return open
}
