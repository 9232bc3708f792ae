package customresource

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWarmValues: what is used stays, what is not goes, and comes back when it is needed.
func TestWarmValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		among := newWarmth()
		go among.Run(t.Context())
		made := map[string]int{}
		value := func(name string) *warm[string] {
			return newWarm(among, func() string { made[name]++; return name })
		}
		kept := func() int {
			among.mu.Lock()
			defer among.mu.Unlock()
			return len(among.values)
		}
		busy, quiet := value("busy"), value("quiet")
		quiet.get()
		for range 20 {
			if got := busy.get(); got != "busy" {
				t.Fatal(got)
			}
			time.Sleep(idle / 2)
		}
		if made["busy"] != 1 || busy.value.Load() == nil || quiet.value.Load() != nil {
			t.Errorf("made: %v, busy is there: %v, quiet is there: %v", made, busy.value.Load() != nil, quiet.value.Load() != nil)
		}
		if quiet.get(); made["quiet"] != 2 {
			t.Errorf("made: %v", made)
		}
		time.Sleep(3 * idle)
		if kept() != 0 || busy.value.Load() != nil {
			t.Errorf("%d values are left", kept())
		}
		if busy.get(); made["busy"] != 2 || kept() != 1 {
			t.Errorf("made: %v, %d values", made, kept())
		}
	})
}
