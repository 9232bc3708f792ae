package h2

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// A conn is a server's side of a connection. One goroutine at a time may read, one may write.
type conn struct {
	net.Conn

	mu    sync.Mutex
	books ledger
	asked bool // Read is to release what is held

	from reader
	to   writer
}

// A reader is where Read is in what the client sends.
type reader struct {
	buf  [512]byte // from r to w it has not been looked at; large frames pass it by
	r, w int
	rest int      // so much of what comes passes as it is
	told []update // go to the server when rest has passed
	out  []byte   // told, encoded
	open bool     // a block of header fields has not ended: nothing may come between
	deaf bool     // updates pass as they are
	err  error    // after rest
}

// A writer is where Write is in what the server sends.
type writer struct {
	head [headerSize]byte
	n    int // so much of head is there
	rest int // of the frame's payload
}

func newConn(c net.Conn) *conn {
	return &conn{Conn: c, books: newLedger(), from: reader{rest: prefaceSize}}
}

// Write notes what is sent in the books.
func (c *conn) Write(p []byte) (int, error) {
	c.note(p)
	return c.Conn.Write(p)
}

func (c *conn) note(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := &c.to; len(p) > 0; {
		if w.rest > 0 {
			n := min(w.rest, len(p))
			w.rest -= n
			p = p[n:]
			continue
		}
		n := copy(w.head[w.n:], p)
		p = p[n:]
		if w.n += n; w.n == headerSize {
			h := parseHeader(w.head[:])
			w.n, w.rest = 0, h.length
			c.noteLocked(h)
		}
	}
}

// noteLocked enters a frame of the server's. Should the server come to need what is held, then Read is told,
// also if it waits for the client just now.
func (c *conn) noteLocked(h header) {
	short := false
	switch ends := h.flags&flagEndStream != 0; {
	case h.kind == typeData && ends:
		short = c.books.last(h.stream, int64(h.length))
	case h.kind == typeData:
		short = c.books.sent(h.stream, int64(h.length))
	case h.kind == typeHeaders && ends, h.kind == typeReset:
		c.books.ended(h.stream)
	}
	if short && !c.asked {
		c.asked = true
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // fails if Read would fail, too
	}
}

// answer does what Write has asked for, and returns whether it has.
func (c *conn) answer() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked {
		return false
	}
	c.asked = false
	_ = c.Conn.SetReadDeadline(time.Time{})
	c.from.told = c.books.release(c.from.told)
	return true
}

// Read returns what the client sends, with fewer updates.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	in := &c.from
	for {
		switch {
		case len(in.out) > 0:
			n := copy(p, in.out)
			in.out = in.out[n:]
			return n, nil
		case in.rest > 0:
			if n, err := c.pass(p); n > 0 || err != nil {
				return n, err
			}
		case len(in.told) > 0 || c.answer():
			in.tell()
		case in.err != nil:
			return 0, in.err
		default:
			c.next()
		}
	}
}

// pass reads what nobody needs to look at.
func (c *conn) pass(p []byte) (n int, err error) {
	in := &c.from
	p = p[:min(len(p), in.rest)]
	if in.r < in.w {
		n = copy(p, in.buf[in.r:in.w])
		in.r += n
	} else {
		n, err = c.receive(p)
	}
	in.rest -= n
	return n, err
}

// receive reads from the client. It returns nothing at all after Write has asked.
func (c *conn) receive(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) && c.answer() {
		err = nil
	}
	return n, err
}

// fill has n bytes ready to be looked at, or returns false: the caller comes again.
func (c *conn) fill(n int) bool {
	in := &c.from
	if in.w-in.r >= n {
		return true
	}
	in.w = copy(in.buf[:], in.buf[in.r:in.w])
	in.r = 0
	got, err := c.receive(in.buf[in.w:])
	in.w += got
	if err != nil {
		in.rest, in.err = in.w, err
		return false
	}
	return in.w >= n
}

func (in *reader) tell() {
	in.out = in.out[:0]
	for _, u := range in.told {
		in.out = u.appendTo(in.out)
	}
	in.told = in.told[:0]
}

// next looks at a frame and lets it pass, unless it is an update that can wait.
func (c *conn) next() {
	in := &c.from
	if !c.fill(headerSize) {
		return
	}
	h := parseHeader(in.buf[in.r:])
	need := headerSize
	if h.kind == typeWindowUpdate || h.kind == typeSettings {
		need = min(headerSize+h.length, len(in.buf))
	}
	if !c.fill(need) {
		return
	}
	if !c.keep(h, in.buf[in.r+headerSize:in.r+need]) {
		in.rest = headerSize + h.length
		return
	}
	in.r += need
}

// keep enters a frame of the client's, and says whether it is not to pass. payload is there for updates and
// settings, as much of them as there is room for.
func (c *conn) keep(h header, payload []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := &c.from
	switch h.kind {
	case typeHeaders, typeContinuation:
		in.open = h.flags&flagEndHeaders == 0
	case typeReset:
		c.books.ended(h.stream)
	case typeSettings:
		if len(payload) < h.length {
			in.deaf = true // who knows what else they say
		}
		if size := initialWindow(payload); size >= 0 && h.flags&flagAck == 0 {
			c.books.resized(size)
		}
		in.told = c.books.release(in.told)
	case typeWindowUpdate:
		if in.open || in.deaf || h.length != len(payload) || len(payload) != updateSize-headerSize {
			return false
		}
		u := parseUpdate(h, payload)
		increment, known := c.books.granted(u)
		if increment > 0 {
			in.told = append(in.told, update{u.stream, increment})
		}
		return known
	}
	return false
}
