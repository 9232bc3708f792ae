package store

import (
	"context"
	"fmt"
	"sync/atomic"
)

// A wake is a broadcast to those who wait for a change. The store's mu guards ch and listeners.
type wake struct {
	ch        chan struct{}
	waiters   atomic.Int32 // raised under the read lock by all who took ch
	listeners []*Listener
}

func newWake() wake { return wake{ch: make(chan struct{})} }

// waitLocked returns a channel that the next broadcast closes.
func (w *wake) waitLocked() <-chan struct{} {
	w.waiters.Add(1)
	return w.ch
}

func (w *wake) broadcastLocked() {
	if w.waiters.Swap(0) > 0 {
		close(w.ch)
		w.ch = make(chan struct{})
	}
	for _, l := range w.listeners {
		l.ring()
	}
}

// A Watch reads a resource's events from the shared ring. It has no queue and no goroutine of its own:
// a slow reader costs nothing, until the ring overtakes it. One goroutine at a time may use it.
type Watch struct {
	s         *Store
	t         *table
	namespace string
	epoch     int   // of t when w began
	after     int64 // everything up to here has been delivered or was not ours
	closed    chan struct{}
}

// Watch starts a watch of a resource, in one namespace or all with "", that delivers every event after
// a revision. It returns ErrCompacted or ErrFuture if the ring does not hold that revision.
func (s *Store) Watch(resource, namespace string, after int64) (*Watch, error) {
	s = s.Of(resource)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tableLocked(resource)
	if err := s.checkRevisionLocked(t, after); err != nil {
		return nil, err
	}
	return &Watch{s: s, t: t, namespace: namespace, epoch: t.epoch, after: after, closed: make(chan struct{})}, nil
}

// Next blocks until there are events of w's namespace, and returns them all. They are shared and
// read-only. revision is how far w has come, also when ctx ends the wait: a bookmark may carry it.
// ErrCompacted means that the ring has overtaken w, ErrClosed that the store or w was closed.
func (w *Watch) Next(ctx context.Context) (events []*Event, revision int64, err error) {
	for {
		batch, wait, err := w.poll(true)
		if err != nil {
			return nil, w.after, err
		}
		if batch = w.filter(batch); len(batch) > 0 {
			return batch, w.after, nil
		}
		if wait == nil {
			continue // there was something, but for other namespaces
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, w.after, ctx.Err()
		case <-w.closed:
			return nil, w.after, ErrClosed
		case <-w.s.closing:
			return nil, w.after, ErrClosed
		}
	}
}

// Poll returns the events that there are of w's namespace, as Next does, without waiting for any.
func (w *Watch) Poll() ([]*Event, error) {
	select {
	case <-w.s.closing:
		return nil, ErrClosed
	default:
	}
	batch, _, err := w.poll(false)
	return w.filter(batch), err
}

// poll takes what is new and moves on; if there is nothing, wait tells when to come again to who means to.
func (w *Watch) poll(waits bool) (batch []*Event, wait <-chan struct{}, err error) {
	w.s.mu.RLock()
	defer w.s.mu.RUnlock()
	if err := w.s.checkRevisionLocked(w.t, w.after); err != nil {
		return nil, nil, err
	}
	if w.epoch != w.t.epoch {
		return nil, nil, fmt.Errorf("%s at revision %d, old values can be read anew: %w", w.t.resource, w.after, ErrCompacted)
	}
	batch = w.t.ring.after(w.after)
	w.after = w.s.revision
	if len(batch) > 0 || !waits {
		return batch, nil, nil
	}
	return nil, w.t.wake.waitLocked(), nil
}

// filter returns the events of w's namespace. They are copied only where there are others among them.
func (w *Watch) filter(in []*Event) []*Event {
	ours := func(e *Event) bool { return e.newest().Key.Namespace == w.namespace }
	all := 0
	for all < len(in) && (w.namespace == "" || ours(in[all])) {
		all++
	}
	out := in[:all:all]
	for _, e := range in[all:] {
		if ours(e) {
			out = append(out, e)
		}
	}
	return out
}

// Revision is how far w has come.
func (w *Watch) Revision() int64 { return w.after }

// Close ends a Next that waits. It may be called from any goroutine, once.
func (w *Watch) Close() { close(w.closed) }
