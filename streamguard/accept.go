package streamguard

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/moby/spdystream/spdy"
)

// A Responder hands out a guarded connection to the library that takes it over to serve a client's streams.
type Responder struct {
	http.ResponseWriter
	most func() int
	conn *accepted
}

// Accept returns w with the guard. most is how many streams the library takes altogether, 0 if it takes whatever comes;
// it is asked when the protocol has been agreed upon.
func Accept(w http.ResponseWriter, most func() int) *Responder {
	return &Responder{ResponseWriter: w, most: most}
}

// Hijack implements http.Hijacker.
func (r *Responder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, buffers, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if r.conn, err = newAccepted(c, buffers.Reader, r.most(), time.Now); err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return r.conn, bufio.NewReadWriter(bufio.NewReader(r.conn), bufio.NewWriter(r.conn)), nil
}

// Close ends the connection, if there is one: the library does not when a client has opened too few streams.
func (r *Responder) Close() {
	if r.conn != nil {
		_ = r.conn.Close() // the library has, mostly
	}
}

// maxControl is how long control frames may be: much longer than headers of streams are.
const maxControl = 64 << 10

// An accepted connection is a client's. The library must hear of no stream that nobody takes, and of the connection's end
// only when it has answered all streams: an answer that cannot be written any more leaves whoever writes to the stream
// waiting for good. So control frames are read here first, as the library will: one that is wrong is an end as well.
type accepted struct {
	net.Conn
	from *bufio.Reader // what came together with the request, and what the connection says after it
	most int
	now  func() time.Time

	text   bytes.Buffer // a control frame
	framer *spdy.Framer // reads text
	passed []byte       // what the library may read next
	data   int          // bytes of a data frame that it may read after that
	taken  int          // streams that it has heard of
	until  time.Time
	ended  error

	writes   sync.Mutex // held while bytes are written
	out      scanner
	replying []uint32 // streams whose answer is not written in full
	broken   error

	mu       sync.Mutex
	answered sync.Cond           // waiting or over has changed
	waiting  map[uint32]struct{} // streams without an answer
	over     bool                // the library knows of the end, or has ended the connection itself
}

func newAccepted(c net.Conn, from *bufio.Reader, most int, now func() time.Time) (*accepted, error) {
	a := &accepted{Conn: c, from: from, most: most, now: now, waiting: map[uint32]struct{}{}, until: now().Add(patience)}
	a.answered.L = &a.mu
	var err error
	a.framer, err = spdy.NewFramer(io.Discard, &a.text)
	return a, err
}

// Read returns what the library may hear.
func (a *accepted) Read(b []byte) (n int, err error) {
	if len(a.passed) == 0 && a.data == 0 && a.ended == nil {
		a.ended = a.look()
	}
	switch {
	case a.ended != nil:
		return 0, a.end()
	case len(a.passed) > 0:
		n = copy(b, a.passed)
		a.passed = a.passed[n:]
		return n, nil
	}
	n, a.ended = a.from.Read(b[:min(len(b), a.data)])
	a.data -= n
	if n == 0 && a.ended != nil {
		return 0, a.end()
	}
	return n, nil
}

// look reads a control frame, or the head of a data frame.
func (a *accepted) look() error {
	head, err := a.from.Peek(headLength)
	if err != nil {
		return err
	}
	first, length := binary.BigEndian.Uint32(head), int(binary.BigEndian.Uint32(head[4:])&0xffffff)
	control := head[0]&0x80 != 0
	switch {
	case control && length > maxControl:
		return a.refuse("a control frame of %d bytes", length)
	case !control && first == 0:
		return a.refuse("data of stream 0")
	case !control:
		a.data, length = length, 0
	}
	a.passed = make([]byte, headLength+length)
	if _, err = io.ReadFull(a.from, a.passed); err != nil || !control {
		return err
	}
	_, _ = a.text.Write(a.passed) // never fails
	frame, err := a.framer.ReadFrame()
	if err != nil || a.text.Len() > 0 {
		return a.refuse("a frame that is wrong: %v", err)
	}
	return a.judge(frame)
}

// judge says whether the library may hear of a control frame.
func (a *accepted) judge(f spdy.Frame) error {
	switch f := f.(type) {
	case *spdy.HeadersFrame:
		return a.refuse("headers of stream %d, which nobody reads", f.StreamId)
	case *spdy.GoAwayFrame:
		a.awaitAnswers()
	case *spdy.SynStreamFrame:
		if a.taken++; a.most > 0 && (a.taken > a.most || a.now().After(a.until)) {
			return a.refuse("stream %d, which nobody takes", f.StreamId)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.waiting[uint32(f.StreamId)] = struct{}{}
	}
	return nil
}

func (a *accepted) refuse(what string, args ...any) error {
	_ = a.Conn.Close() // reads fail already
	return fmt.Errorf("connection to %s ended: it sent "+what, append([]any{a.RemoteAddr()}, args...)...)
}

// end tells the library of the end.
func (a *accepted) end() error {
	a.awaitAnswers()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	return a.ended
}

func (a *accepted) awaitAnswers() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.waiting) > 0 && !a.over {
		a.answered.Wait()
	}
}

// Write notes the answers that it gives. Until the library knows that the connection has ended, it may write to it.
func (a *accepted) Write(b []byte) (int, error) {
	a.writes.Lock()
	defer a.writes.Unlock()
	if a.broken == nil {
		if _, a.broken = a.Conn.Write(b); a.broken != nil {
			_ = a.Conn.Close() // who reads is to learn of it
		}
	}
	a.mu.Lock()
	over := a.over // as it is before the answers are noted, for which the end may be waiting
	a.mu.Unlock()
	a.note(b)
	if a.broken != nil && over {
		return 0, a.broken
	}
	return len(b), nil
}

// note looks for answers among what is written.
func (a *accepted) note(b []byte) {
	for at := 0; at < len(b); {
		used, f := a.out.next(b[at:])
		at += used
		if f != nil && (f.kind == synReply || f.kind == rstStream) {
			a.replying = append(a.replying, f.stream)
		}
	}
	if len(a.replying) == 0 || !a.out.between() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, stream := range a.replying {
		delete(a.waiting, stream)
	}
	a.replying = a.replying[:0]
	a.answered.Broadcast()
}

// Close implements net.Conn. Whoever closes awaits no answers.
func (a *accepted) Close() error {
	a.mu.Lock()
	a.over = true
	a.answered.Broadcast()
	a.mu.Unlock()
	return a.Conn.Close()
}
