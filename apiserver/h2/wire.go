package h2

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A wire is a connection below TLS. Once it holds, what is written to it stays until it is pushed or drained: many
// records are one write, and nobody waits for the client who does not mean to.
type wire struct {
	net.Conn
	raw syscall.RawConn // nil: a connection that is no socket

	offered atomic.Int64 // bytes that watches have been offered, less lullBytes for each lull
	filled  bool         // the last read got as much as it could take: there may be more

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

const (
	// lullBytes is how much is offered to watches for each lull in reading from their client.
	lullBytes = 64 << 10
	lull      = 2 * time.Millisecond
	// lullsAhead is how many of them one burst may cause.
	lullsAhead = 16
	// lullMark is how much comes before a lull ends in the socket's eyes: what it says earlier would wake a thread in vain.
	lullMark = 16 << 10
)

// Read implements net.Conn. The client of many watches sends a small frame or two for every few kilobytes that it has got, and
// to be woken for each costs more than the events do: they are let gather for a moment, as long as there is much to send.
func (w *wire) Read(p []byte) (int, error) {
	if w.raw != nil && !w.filled && w.offered.Load() >= lullBytes {
		if w.offered.Add(-lullBytes) > lullsAhead*lullBytes {
			w.offered.Store(lullsAhead * lullBytes)
		}
		w.mark(lullMark)
		time.Sleep(lull)
		w.mark(1)
	}
	if w.unpushed() > heldLimit {
		return 0, errUnread
	}
	n, err := w.Conn.Read(p)
	w.filled = n == len(p)
	return n, err
}

// heldLimit is how much may be held while the client goes on: several times what a connection queues. TLS has answers of its own,
// to a client that changes its keys, and nobody else counts them.
const heldLimit = 4 << 20

var errUnread = errors.New("http2: TLS has more to say than the client reads")

func (w *wire) unpushed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		return 0
	}
	return len(*w.held) - w.off
}

// mark sets how much has come before the socket says that it can be read from (SO_RCVLOWAT).
func (w *wire) mark(n int) {
	_ = w.raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n) })
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
