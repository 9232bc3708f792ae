package h2

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// A wire is a connection below TLS. Once it holds, what is written to it stays until it is pushed or drained: many
// records are one write, and nobody waits for the client who does not mean to.
type wire struct {
	net.Conn
	raw syscall.RawConn // nil: a connection that is no socket

	mu    sync.Mutex
	holds bool
	held  *[]byte // nil: nothing; what of it is to be written begins at off
	off   int
	tried error // what try met
}

func newWire(c net.Conn) *wire {
	w := &wire{Conn: c}
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			w.raw = raw
		}
	}
	return w
}

// hold says whether what is written stays.
func (w *wire) hold(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds = on
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	if !w.holds {
		w.mu.Unlock()
		return w.Conn.Write(p)
	}
	defer w.mu.Unlock()
	if w.held == nil {
		w.held = takeBuffer()
	}
	*w.held = append(*w.held, p...)
	return len(p), nil
}

// push writes as much as the socket takes now, and says whether that is all.
func (w *wire) push() (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		return true, nil
	}
	if w.raw == nil {
		return false, nil
	}
	if err := w.raw.Write(w.try); err != nil {
		return false, err
	}
	switch {
	case errors.Is(w.tried, syscall.EAGAIN):
		return false, nil
	case w.tried != nil:
		return false, w.tried
	}
	giveBuffer(w.held)
	w.held, w.off = nil, 0
	return true, nil
}

// try writes until the socket takes no more. It tells the runtime not to wait.
func (w *wire) try(fd uintptr) bool {
	w.tried = nil
	for w.off < len(*w.held) {
		n, err := syscall.Write(int(fd), (*w.held)[w.off:])
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if w.tried = err; err != nil {
			break
		}
		w.off += n
	}
	return true
}

// drain writes everything, however long it takes. One goroutine at a time may push or drain.
func (w *wire) drain() error {
	for {
		w.mu.Lock()
		b, off := w.held, w.off
		w.held, w.off = nil, 0
		w.mu.Unlock()
		if b == nil {
			return nil
		}
		_, err := w.Conn.Write((*b)[off:])
		if err != nil {
			return err // the buffer may be in use still
		}
		giveBuffer(b)
	}
}

// buffers are of connections that have something to write: thousands that are silent need none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

func takeBuffer() *[]byte { return buffers.Get().(*[]byte) }

// giveBuffer takes a buffer back, unless something large has made it large.
func giveBuffer(b *[]byte) {
	if cap(*b) <= 2*queueLimit {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}
