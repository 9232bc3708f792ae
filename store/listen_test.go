package store_test

import (
	"errors"
	"testing"

	"clipper/store"
)

// TestListener: who listens hears of each change of the resource, and of the end, and finds the events there.
func TestListener(t *testing.T) {
	s := open(t, &memory{}, options())
	bell := make(chan struct{}, 1)
	pods, services := store.NewListener(bell), store.NewListener(bell)
	s.Listen("pods", pods)
	s.Listen("services/specs", services)
	w, err := s.Watch("pods", "ns", s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	poll := func(wanted ...string) {
		t.Helper()
		events, err := w.Poll()
		if err != nil || len(events) != len(wanted) {
			t.Fatalf("%d events (%v), wanted %q", len(events), err, wanted)
		}
		for i, e := range events {
			if e.New.Key.Name != wanted[i] {
				t.Errorf("event %d is of %s, wanted %s", i, e.New.Key.Name, wanted[i])
			}
		}
	}
	poll()
	create(t, s, "ns", "a", "")
	create(t, s, "other", "b", "")
	<-bell
	if !pods.Rung() || pods.Rung() || services.Rung() {
		t.Error("two pods have been written")
	}
	poll("a")
	if w.Revision() != s.Revision() {
		t.Errorf("the watch is at %d, the store at %d", w.Revision(), s.Revision())
	}
	s.Unlisten("pods", pods)
	create(t, s, "ns", "c", "")
	if pods.Rung() || len(bell) != 0 {
		t.Error("one who no longer listens hears")
	}
	poll("c")
	s.Close()
	<-bell
	if !services.Rung() {
		t.Error("the end was not heard")
	}
	if _, err := w.Poll(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}
