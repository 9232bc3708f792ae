package apiserver

import (
	"testing"
	"time"
)

func TestRest(t *testing.T) {
	for n, want := range map[int]time.Duration{
		0: 0, 1: 0, 19: 0, 20: time.Millisecond, 100: 5 * time.Millisecond, 200: 10 * time.Millisecond, 1000: 10 * time.Millisecond,
	} {
		if got := restAfter(n); got != want {
			t.Errorf("after %d watches: %s, not %s", n, got, want)
		}
	}
	c := &carrier{stop: make(chan struct{})}
	if start := time.Now(); !c.rest(time.Millisecond) || time.Since(start) < time.Millisecond {
		t.Error("it has not rested")
	}
	close(c.stop)
	if start := time.Now(); c.rest(time.Hour) || time.Since(start) > time.Minute {
		t.Error("it rests although it is to stop")
	}
}
