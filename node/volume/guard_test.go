package volume

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatHangsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(time.Minute)
		release := make(chan struct{})
		hang := func() error { <-release; return nil }
		fine := func() error { return nil }
		ctx, cancel := context.WithCancel(t.Context())
		cancelled := make(chan error, 1)
		go func() { cancelled <- g.do(ctx, "b", hang) }()
		began := time.Now()
		if err := g.do(t.Context(), "a", hang); err == nil || !strings.Contains(err.Error(), "a does not answer within 1m0s") {
			t.Errorf("err = %v", err)
		}
		if got := time.Since(began); got != time.Minute {
			t.Errorf("waited %v", got)
		}
		if err := g.do(t.Context(), "a", fine); err == nil || !strings.Contains(err.Error(), "still hangs") {
			t.Errorf("err = %v", err)
		}
		if err := g.do(t.Context(), "c", fine); err != nil {
			t.Errorf("another key: %v", err)
		}
		cancel()
		if err := <-cancelled; err != nil && !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "within") {
			t.Errorf("err = %v", err)
		}
		close(release)
		synctest.Wait()
		if err := g.do(t.Context(), "a", fine); err != nil {
			t.Errorf("after it answered: %v", err)
		}
	})
}

// Two pods with the same hostPath ask about it at the same time: that is no reason to complain.
func TestSlowIsNotHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(time.Minute)
		slow := func() error { time.Sleep(time.Second); return nil }
		results := make(chan error, 2)
		for range 2 {
			go func() { results <- g.do(t.Context(), "a", slow) }()
		}
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}
