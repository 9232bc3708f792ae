package shim

import (
	"context"

	"clipper/node/runtime/embedded/wire"
)

// A watch tells one agent what changes. It remembers which objects changed, not how: however slow the agent,
// it costs a map entry per object, and the agent gets the newest state.
type watch struct {
	wake       chan struct{} // of capacity one
	sandboxes  map[string]struct{}
	containers map[string]struct{}
	removed    []wire.Removal
}

// serveWatch sends everything, then changes, until the connection or ctx ends.
func (s *Server) serveWatch(ctx context.Context, c *wire.Conn) {
	w := &watch{wake: make(chan struct{}, 1), sandboxes: map[string]struct{}{}, containers: map[string]struct{}{}}
	s.mu.Lock()
	s.watches[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watches, w)
		s.mu.Unlock()
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	closed := hangUp(c, cancel)
	defer func() { c.Close(); <-closed }()

	if c.Send(s.list()) != nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		if resp := s.changes(w); c.Send(resp) != nil {
			return
		}
	}
}

// changes takes what has changed since the last call.
func (s *Server) changes(w *watch) *wire.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &wire.Response{Removed: w.removed}
	for id := range w.sandboxes {
		if sb, ok := s.sandboxes[id]; ok {
			resp.Sandboxes = append(resp.Sandboxes, sb.rec)
		}
	}
	for id := range w.containers {
		if c, ok := s.containers[id]; ok {
			resp.Containers = append(resp.Containers, c.rec)
		}
	}
	w.removed = nil
	clear(w.sandboxes)
	clear(w.containers)
	return resp
}

// hangUp calls gone when the agent closes the connection, on which it says nothing more. The channel is
// closed when the goroutine has ended: after c.Close at the latest.
func hangUp(c *wire.Conn, gone func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer gone()
		for {
			var ignored wire.Request
			files, err := c.Receive(&ignored)
			wire.CloseAll(files)
			if err != nil {
				return
			}
		}
	}()
	return done
}

// setContainer makes rec the container's record and tells the watches. It returns rec with its revision.
func (s *Server) setContainer(c *container, rec wire.Container) wire.Container {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev++
	rec.Rev = s.rev
	c.rec = rec
	s.containers[c.id] = c
	for w := range s.watches {
		w.containers[c.id] = struct{}{}
		w.notify()
	}
	return rec
}

// setSandbox makes rec the sandbox's record and tells the watches.
func (s *Server) setSandbox(sb *sandbox, rec wire.Sandbox) wire.Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev++
	rec.Rev = s.rev
	sb.rec = rec
	s.sandboxes[sb.id] = sb
	for w := range s.watches {
		w.sandboxes[sb.id] = struct{}{}
		w.notify()
	}
	return rec
}

// forget drops the sandbox or container id and tells the watches.
func (s *Server) forget(id string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rev++
	delete(s.containers, id)
	delete(s.sandboxes, id)
	for w := range s.watches {
		w.removed = append(w.removed, wire.Removal{ID: id, Rev: s.rev})
		w.notify()
	}
	return s.rev
}

func (w *watch) notify() {
	select {
	case w.wake <- struct{}{}:
	default: // already awake
	}
}
