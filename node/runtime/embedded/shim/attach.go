package shim

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"clipper/node/runtime/embedded/crilog"
)

// An attachment is a client that receives a container's output. Its pipes are written without blocking; what
// does not fit waits here, and pauses the container's output until it has gone.
type attachment struct {
	io    *stdio
	pipes [2]*attachPipe // by crilog.Stream; nil: not wanted
	done  chan struct{}  // closed when the container has ended and everything is sent
	ended bool
}

type attachPipe struct {
	a       *attachment
	file    *os.File
	fd      int
	pending []byte
	waiting bool // in the epoll set
}

// attach registers the pipes, by stream. They become the stdio's.
func (s *stdio) attach(pipes [2]*os.File) (*attachment, error) {
	a := &attachment{io: s, done: make(chan struct{})}
	for i, f := range pipes {
		if f == nil {
			continue
		}
		fd := int(f.Fd())
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, err
		}
		a.pipes[i] = &attachPipe{a: a, file: f, fd: fd}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attached == nil {
		s.attached = map[*attachment]struct{}{}
	}
	s.attached[a] = struct{}{}
	if len(s.outputs) == 0 {
		a.finishLocked()
	}
	return a, nil
}

// detach ends the attachment; the container's output flows on without it.
func (a *attachment) detach() {
	a.io.mu.Lock()
	defer a.io.mu.Unlock()
	delete(a.io.attached, a)
	for i, p := range a.pipes {
		if p != nil {
			p.closeLocked()
			a.pipes[i] = nil
		}
	}
	a.io.resumeLocked()
}

// sendLocked passes p on and reports whether all of it has left.
func (a *attachment) sendLocked(s crilog.Stream, p []byte) bool {
	pipe := a.pipes[s]
	if pipe == nil || pipe.file == nil { // not wanted, or broken: nobody reads it
		return true
	}
	if len(pipe.pending) > 0 { // keep the order
		pipe.pending = append(pipe.pending, p...)
		return false
	}
	n, err := pipe.write(p)
	if err != nil {
		pipe.closeLocked()
		return true
	}
	if n == len(p) {
		return true
	}
	pipe.pending = append(pipe.pending, p[n:]...)
	pipe.waiting = a.io.poll.add(pipe.fd, unix.EPOLLOUT, pipe) == nil
	return false
}

// write sends as much of p as the pipe takes now.
func (p *attachPipe) write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		n, err := unix.Write(p.fd, b[sent:])
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return sent, nil
		case err != nil:
			return sent, err
		default:
			sent += n
		}
	}
	return sent, nil
}

// ready goes on with what was pending.
func (p *attachPipe) ready(uint32) {
	p.a.io.mu.Lock()
	defer p.a.io.mu.Unlock()
	if p.file == nil {
		return
	}
	n, err := p.write(p.pending)
	p.pending = p.pending[n:]
	if err == nil && len(p.pending) > 0 {
		return
	}
	p.pending = nil
	p.stopLocked()
	if err != nil {
		p.closeLocked()
	}
	if p.a.ended {
		p.a.finishLocked()
	}
	p.a.io.resumeLocked()
}

func (p *attachPipe) stopLocked() {
	if p.waiting {
		p.waiting = false
		p.a.io.poll.remove(p.fd)
	}
}

func (p *attachPipe) closeLocked() {
	p.stopLocked()
	p.pending = nil
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

// behind reports whether output waits for this client.
func (a *attachment) behind() bool {
	for _, p := range a.pipes {
		if p != nil && len(p.pending) > 0 {
			return true
		}
	}
	return false
}

// finishLocked ends the attachment once it has got everything: the container is gone.
func (a *attachment) finishLocked() {
	a.ended = true
	if a.behind() {
		return
	}
	select {
	case <-a.done:
	default:
		close(a.done)
	}
}
