// Package streamguard stands between the SPDY library and whoever is at the other end.
//
// New is for the server that translates the streams of nodes. Of a stream that the library opens it takes the answer, or
// the end, while it waits for that. What comes at another time, and streams that a node opens, hold goroutines of the
// library until somebody takes them, which is for good, whether the connection still stands or not. A node that sends such
// things has its connection ended before the library hears of them.
//
// Accept is for the node that serves the streams of clients. There it is streams beyond those that are asked for which
// nobody takes, and answers that come too late for the client.
package streamguard

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// patience is how long a node may take to answer a stream: less than the library waits, so that it surely still does.
const patience = 25 * time.Second

// A conn is a connection to a node.
type conn struct {
	net.Conn
	now func() time.Time

	writing sync.Mutex // held while bytes are written
	out     scanner

	in    scanner // of who reads: there is one
	ended error

	mu      sync.Mutex
	written sync.Cond            // opening has changed
	opening uint32               // the stream whose frame is being written; 0: none
	waiting map[uint32]time.Time // streams without an answer, and since when
	highest uint32               // stream that was opened: numbers rise
}

// New returns c with the guard; a request for SPDY is to be sent over it next.
func New(c net.Conn) net.Conn { return newConn(c, time.Now) }

func newConn(c net.Conn, now func() time.Time) *conn {
	g := &conn{Conn: c, now: now, in: newScanner(), out: newScanner(), waiting: map[uint32]time.Time{}}
	g.written.L = &g.mu
	return g
}

// Write notes the streams that it opens. Their answers may come before it returns, and then wait for it.
func (c *conn) Write(b []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for n < len(b) && err == nil {
		used, f := c.out.next(b[n:])
		if f != nil && f.kind == synStream {
			c.open(f.stream)
		}
		used, err = c.Conn.Write(b[n : n+used])
		n += used
		c.settle(err)
	}
	return n, err
}

func (c *conn) open(stream uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opening = stream
}

// settle says what a write has made of the stream that is being opened: if all of its frame is written, the library waits
// for the answer; if it cannot be, the library has given the stream up.
func (c *conn) settle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opening == 0 || err == nil && !c.out.between() {
		return
	}
	if err == nil {
		c.waiting[c.opening], c.highest = c.now(), c.opening
	}
	c.opening = 0
	c.written.Broadcast()
}

// Read ends the connection before what the library must not hear of.
func (c *conn) Read(b []byte) (int, error) {
	if c.ended != nil {
		return 0, c.ended
	}
	n, err := c.Conn.Read(b)
	for at := 0; at < n; {
		used, f := c.in.next(b[at:n])
		at += used
		if f == nil || c.expected(f) {
			continue
		}
		c.ended = fmt.Errorf("connection to %s ended: it sent a SPDY frame of type %d about stream %d, for which nobody waits", c.RemoteAddr(), f.kind, f.stream)
		_ = c.Close()      // the read fails already
		if at--; at == 0 { // a frame without its last byte is none
			return 0, c.ended
		}
		return at, nil
	}
	return n, err
}

// expected says whether the library takes f in at once.
func (c *conn) expected(f *frame) bool {
	if f.kind == synStream || f.kind == headers || f.stream == 0 {
		return false // the server asks, and is not asked; nobody reads more headers; no stream has that number
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.opening == f.stream {
		c.written.Wait() // ends with the write, at the latest when the connection does
	}
	since, waits := c.waiting[f.stream]
	delete(c.waiting, f.stream)
	if waits {
		return c.now().Sub(since) < patience
	}
	return f.stream <= c.highest // it has its answer: what comes after that waits for nobody
}
