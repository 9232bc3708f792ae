// Package events hands a runtime's events to whoever listens. Nobody is waited for: what a slow reader has not
// taken yet is merged by object, so that it misses steps but never the last one.
package events

import (
	"context"
	"sync"

	"clipper/node/runtime"
)

// A Hub has readers. Its zero value is ready.
type Hub struct {
	mu      sync.Mutex
	readers map[*reader]struct{}
}

// reader is one subscriber.
type reader struct {
	wake    chan struct{}
	order   []string
	pending map[string]runtime.Event
}

// Publish tells every reader of e. It never blocks.
func (h *Hub) Publish(e runtime.Event) {
	key := e.SandboxID + "/" + e.ContainerID
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		if _, ok := r.pending[key]; !ok {
			r.order = append(r.order, key)
		}
		r.pending[key] = e
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// Subscribe delivers what is published from now on until ctx ends; then the channel is closed.
func (h *Hub) Subscribe(ctx context.Context) <-chan runtime.Event {
	r := &reader{wake: make(chan struct{}, 1), pending: map[string]runtime.Event{}}
	h.mu.Lock()
	if h.readers == nil {
		h.readers = map[*reader]struct{}{}
	}
	h.readers[r] = struct{}{}
	h.mu.Unlock()
	out := make(chan runtime.Event)
	go func() { // ends with ctx, which the caller owns
		defer close(out)
		defer h.leave(r)
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			}
			for e, ok := h.next(r); ok; e, ok = h.next(r) {
				select {
				case <-ctx.Done():
					return
				case out <- e:
				}
			}
		}
	}()
	return out
}

func (h *Hub) leave(r *reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.readers, r)
}

func (h *Hub) next(r *reader) (runtime.Event, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(r.order) == 0 {
		return runtime.Event{}, false
	}
	key := r.order[0]
	r.order = r.order[1:]
	e := r.pending[key]
	delete(r.pending, key)
	return e, true
}
