package apiserver

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"clipper/apiserver/h2"
	"clipper/store"
)

// A ride is what a watch has of its connection's carrier: as long as it is aboard, the carrier sends its events.
type ride struct {
	carrier *carrier      // nil: the goroutine of the watch's request sends all of them
	back    chan struct{} // tells that goroutine that it is to go on

	mu     sync.Mutex // guards what follows and, while aboard, all that sending needs
	aboard bool
	left   []*store.Event // what it is to send then, behind what w.out holds
	err    error          // what it has ended with
	panic  any            // what the carrier has met on its behalf
}

// errMustWait: what was to be sent cannot be sent at once, and is kept.
var errMustWait = errors.New("the client must be waited for")

// board hands the watch to the carrier of its connection, if there is one. An object that a webhook converts may take long,
// and the connection's other watches must not wait for it.
func (w *watcher) board() (leave func()) {
	shared, ok := w.q.w.(h2.Shared)
	if !ok || w.out.socket != nil || w.q.kind.Custom != nil && w.q.kind.Custom.Remote {
		return func() {}
	}
	w.out.shared = shared
	w.ride.back = make(chan struct{}, 1)
	c := w.q.s.carriers.attach(w, shared.Connection())
	w.ride.carrier = c
	return func() { w.q.s.carriers.detach(w, c) }
}

// next returns the events that the goroutine of the watch's request is to send: those that there are before the carrier
// takes over, and those that it has left. There may be none, and still something in w.out.
func (w *watcher) next(ctx context.Context) ([]*store.Event, error) {
	r := &w.ride
	if r.carrier == nil {
		events, _, err := w.changes.Next(ctx)
		return events, err
	}
	if events, err := w.embark(); len(events) > 0 || err != nil {
		return events, err
	}
	select {
	case <-ctx.Done():
	case <-r.back:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.aboard {
		r.aboard = false
		return nil, ctx.Err()
	}
	if r.panic != nil {
		panic(r.panic)
	}
	events, err := r.left, r.err
	r.left, r.err = nil, nil
	return events, err
}

// embark goes aboard if there is nothing to send. What comes from now on the carrier hears of.
func (w *watcher) embark() ([]*store.Event, error) {
	w.ride.mu.Lock()
	defer w.ride.mu.Unlock()
	events, err := w.changes.Poll()
	w.ride.aboard = len(events) == 0 && err == nil
	return events, err
}

// carried sends what is new from the carrier's goroutine. What cannot be sent at once it leaves, and returns false.
func (w *watcher) carried() bool {
	w.ride.mu.Lock()
	defer w.ride.mu.Unlock()
	if !w.ride.aboard {
		return true
	}
	w.out.offers = true
	defer w.carriedOver()
	events, err := w.changes.Poll()
	for len(events) > 0 && err == nil {
		err = w.event(events[0])
		events = events[1:]
	}
	if err == nil {
		err = w.out.send()
	}
	if err == nil {
		w.sent = w.changes.Revision()
		return true
	}
	if errors.Is(err, errMustWait) {
		err = nil
	}
	w.ride.left, w.ride.err = events, err
	w.ride.alightLocked()
	return false
}

// carriedOver is the end of carried, which may have panicked: that is the request's affair, and not the connection's.
func (w *watcher) carriedOver() {
	w.out.offers = false
	if cause := recover(); cause != nil {
		w.ride.panic = fmt.Sprintf("%v\n%s", cause, debug.Stack())
		w.ride.alightLocked()
	}
}

// alight gives the watch back to the goroutine of its request.
func (r *ride) alight() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.aboard {
		r.alightLocked()
	}
}

func (r *ride) alightLocked() {
	r.aboard = false
	select {
	case r.back <- struct{}{}:
	default: // it has not looked since the last time
	}
}
