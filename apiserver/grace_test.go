package apiserver

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestEndWatches: watches end one after the other, within the grace and two hundred a second or more; other streams go
// on, and no more watches are taken.
func TestEndWatches(t *testing.T) {
	for _, tt := range []struct {
		watches     int
		grace, want time.Duration
	}{
		{0, time.Minute, 0},
		{400, 0, 0},
		{400, time.Minute, 2 * time.Second},
		{400, time.Second, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var f inflight
			ended := 0
			for range tt.watches {
				q := &request{long: true, info: info{Verb: "watch"}}
				f.enter(q)
				f.endsBy(q, func() { ended++ })
			}
			exec := &request{long: true, info: info{Verb: "create"}}
			f.enter(exec)
			f.endsBy(exec, func() { t.Error("a stream was ended with the watches") })
			start := time.Now()
			f.endWatches(tt.grace)
			if took := time.Since(start); took != tt.want {
				t.Errorf("%+v: took %v", tt, took)
			}
			if want := tt.watches; tt.grace > 0 && ended != want {
				t.Errorf("%+v: %d ended", tt, ended)
			}
			late := &request{long: true, info: info{Verb: "watch"}}
			if taken := f.enter(late); taken != (tt.grace == 0) {
				t.Errorf("%+v: another watch is taken: %t", tt, taken)
			}
		})
	}
}
