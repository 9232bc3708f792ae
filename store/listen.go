package store

import (
	"slices"
	"sync/atomic"
)

// A Listener hears of changes of a resource for somebody who polls many watches of it.
type Listener struct {
	bell chan<- struct{}
	rung atomic.Bool
}

// NewListener returns a listener that sends to bell when something may have changed. bell needs room for one; several
// listeners may share it.
func NewListener(bell chan<- struct{}) *Listener { return &Listener{bell: bell} }

// Rung says whether something may have changed since it was last asked. Events from before a call are there
// to be polled after it.
func (l *Listener) Rung() bool { return l.rung.Swap(false) }

func (l *Listener) ring() {
	if l.rung.Swap(true) {
		return
	}
	select {
	case l.bell <- struct{}{}:
	default: // it has been sent already
	}
}

// Listen has l hear of each change of a resource, and of the store's end, until Unlisten.
func (s *Store) Listen(resource string, l *Listener) {
	s = s.Of(resource)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.tableLocked(resource).wake
	w.listeners = append(w.listeners, l)
}

// Unlisten ends what Listen has begun.
func (s *Store) Unlisten(resource string, l *Listener) {
	s = s.Of(resource)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.tableLocked(resource).wake
	w.listeners = slices.DeleteFunc(w.listeners, func(other *Listener) bool { return other == l })
}

// ringAll lets all listeners know that the store closes.
func (s *Store) ringAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		for _, l := range t.wake.listeners {
			l.ring()
		}
	}
}
