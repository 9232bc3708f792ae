package h2

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

var errBodyClosed = errors.New("http2: the body has been closed")

// keptBuffer is the largest that a body whose reader keeps up goes on with.
const keptBuffer = 64 << 10

// A body is what a client sends with a request: the connection writes, the handler reads. No more than the stream's
// window waits in it.
type body struct {
	st      *stream
	awaited bool // the client waits to be told to send it; of the handler's goroutine

	mu     sync.Mutex
	change sync.Cond
	buf    []byte
	off    int   // so much of it has been read
	err    error // behind it
	sealed bool  // nothing is added
}

func (b *body) init(st *stream) {
	b.st = st
	b.change.L = &b.mu
}

// write adds what has come, and says whether it did.
func (b *body) write(p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sealed {
		return false
	}
	b.buf = append(b.buf, p...)
	b.change.Signal()
	return true
}

// end is when everything has come; err is what is wrong with it.
func (b *body) end(err error) {
	if err == nil {
		err = io.EOF
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.sealed = true
	b.change.Broadcast()
}

// fail ends a body early, and returns how much of it has not been read and never will be.
func (b *body) fail(err error) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	unread := len(b.buf) - b.off
	if b.err == nil || unread > 0 {
		b.err = err
	}
	b.buf, b.off, b.sealed = nil, 0, true
	b.change.Broadcast()
	return unread
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.awaited {
		b.awaited = false
		b.st.proceed()
	}
	n, err := b.take(p)
	if n > 0 {
		c := b.st.c
		c.mu.Lock()
		c.giveBackLocked(b.st, n)
		c.flushLocked()
		c.mu.Unlock()
	}
	if err == io.EOF { //nolint:errorlint // as io.Reader has it
		b.trailer()
	}
	return n, err
}

// proceed tells a client to send what it has asked about (RFC 9110, section 10.1.1).
func (st *stream) proceed() {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !st.closed && !st.response.sent {
		c.fieldsLocked(st.id, http.StatusContinue, nil, false)
		c.flushLocked()
	}
}

func (b *body) take(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.off == len(b.buf) && b.err == nil && len(p) > 0 {
		b.change.Wait()
	}
	if b.off == len(b.buf) {
		return 0, b.err
	}
	n := copy(p, b.buf[b.off:])
	if b.off += n; b.off == len(b.buf) {
		b.buf, b.off = b.buf[:0], 0
		if cap(b.buf) > keptBuffer {
			b.buf = nil
		}
	}
	return n, nil
}

// trailer shows the handler what came behind the body.
func (b *body) trailer() {
	b.st.c.mu.Lock()
	defer b.st.c.mu.Unlock()
	for key, values := range b.st.trailer {
		b.st.request.Trailer[key] = values
	}
	b.st.trailer = nil
}

// Close implements io.Closer: what has not been read is not wanted.
func (b *body) Close() error {
	b.drop(errBodyClosed)
	return nil
}

// drop ends a body of a stream that goes on. What has not been read no longer counts against the connection's window.
func (b *body) drop(err error) {
	unread := b.fail(err)
	c := b.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.giveBackLocked(nil, unread)
	c.flushLocked()
}
