package h2

import (
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/net/http2"
)

const (
	// queueLimit is how much waits to be written before senders wait: sixteen records of TLS, one write.
	queueLimit = 256 << 10
	// controlLimit is how much more there may be of frames that nobody waits with. It is not reached by clients that
	// read what they have caused.
	controlLimit = 256 << 10
	headerSize   = 9
	updateSize   = headerSize + 4 // a WINDOW_UPDATE (section 6.9)
)

// A queue is what a connection has to write: frames, in order.
type queue struct {
	frames    *[]byte // nil: none
	writing   bool    // somebody writes, and will write what is added
	gathering bool    // somebody is about to
	waiting   []*stream
	ahead     int // so many of them have sent nothing yet: a small answer does not wait for the turns of hundreds of watches
}

// Write implements io.Writer, for the Framer.
func (q *queue) Write(p []byte) (int, error) {
	b := q.buffer()
	*b = append(*b, p...)
	return len(p), nil
}

func (q *queue) buffer() *[]byte {
	if q.frames == nil {
		q.frames = takeBuffer()
	}
	return q.frames
}

func (q *queue) len() int {
	if q.frames == nil {
		return 0
	}
	return len(*q.frames)
}

// drop forgets what nobody can be told any more.
func (q *queue) drop() {
	if q.frames != nil {
		giveBuffer(q.frames)
		q.frames = nil
	}
}

// data adds a DATA frame (section 6.1).
func (q *queue) data(stream uint32, p []byte, end bool) {
	flags := byte(0)
	if end {
		flags = byte(http2.FlagDataEndStream)
	}
	b := q.buffer()
	head := [headerSize]byte{byte(len(p) >> 16), byte(len(p) >> 8), byte(len(p)), byte(http2.FrameData), flags}
	binary.BigEndian.PutUint32(head[5:], stream)
	*b = append(append(*b, head[:]...), p...)
}

// wait puts a stream into the list: behind those that are like it.
func (q *queue) wait(st *stream) {
	st.waits = true
	if st.begun {
		q.waiting = append(q.waiting, st)
		return
	}
	q.waiting = slices.Insert(q.waiting, q.ahead, st)
	q.ahead++
}

// leave takes a stream out of the list.
func (q *queue) leave(i int) {
	q.waiting[i].waits = false
	if i < q.ahead {
		q.ahead--
	}
	if i == 0 {
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		return
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
}

// flushLocked writes what is queued, unless somebody does already. It never waits for the client.
func (c *conn) flushLocked() {
	if c.mute {
		c.queue.drop()
	}
	if c.queue.writing {
		return
	}
	c.queue.writing = true
	for c.err == nil && c.queue.frames != nil {
		c.sealLocked()
		c.mu.Unlock()
		all, err := c.wire.push()
		c.mu.Lock()
		if err != nil {
			c.failLocked(errClientGone)
		} else if !all {
			go c.flushSlowly()
			return
		}
	}
	if c.away && !c.fault && len(c.streams) == 0 && c.err == nil {
		c.farewellLocked()
	}
	c.queue.writing = false
	c.wakeNextLocked()
}

// farewellLocked tells a client that has been asked to leave, and waits for nothing, that nothing more comes: many that are idle
// would not leave otherwise, and be waited for. The client is still read from.
func (c *conn) farewellLocked() {
	if c.mute {
		return
	}
	c.mute = true
	c.mu.Unlock()
	if t, ok := c.tls.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
		_ = c.wire.SetWriteDeadline(time.Time{}) // which is past then, but the wire still holds what was said
		_, _ = c.wire.push()                     // a client that does not take it now is waited for
	}
	c.mu.Lock()
}

// sealLocked hands what is queued to TLS, and so to the wire, which holds it.
func (c *conn) sealLocked() {
	b := c.queue.frames
	c.queue.frames = nil
	c.wakeNextLocked()
	c.mu.Unlock()
	_, err := c.tls.Write(*b)
	c.mu.Lock()
	giveBuffer(b)
	if err != nil {
		c.failLocked(errClientGone)
	}
}

// flushSlowly goes on where the socket took no more.
func (c *conn) flushSlowly() {
	err := c.wire.drain()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failLocked(errClientGone)
	}
	c.queue.writing = false
	c.flushLocked()
}

// flushControlLocked writes what the client has caused. One that does not read it is not answered for ever.
func (c *conn) flushControlLocked() {
	c.flushLocked()
	if c.queue.len() > queueLimit+controlLimit {
		c.failLocked(errClientGone)
	}
}

// roomLocked waits until something of a stream may be sent, and returns how much of n bytes.
func (c *conn) roomLocked(st *stream, n int) (int, error) {
	for flushed := false; ; {
		if st.closed {
			c.leaveLocked(st)
			return 0, st.err
		}
		if part := min(int64(n), int64(c.frameSize), st.window, c.window); part > 0 && c.queue.len() < queueLimit {
			st.window -= part
			c.window -= part
			c.leaveLocked(st)
			st.begun = true
			return int(part), nil
		}
		if !flushed {
			c.flushLocked()
			flushed = true
			continue
		}
		c.waitLocked(st)
		flushed = false
	}
}

// waitLocked waits for the window of a stream, or its turn for that of all, or room in the queue.
func (c *conn) waitLocked(st *stream) {
	if st.window > 0 && !st.waits {
		c.queue.wait(st)
	}
	c.wakeNextLocked()
	c.mu.Unlock()
	select {
	case <-st.wake:
	case <-st.ctx.Done():
	}
	c.mu.Lock()
}

// leaveLocked takes a stream out of the list that has not waited for its turn: it would be woken in vain.
func (c *conn) leaveLocked(st *stream) {
	if st.waits {
		c.queue.leave(slices.Index(c.queue.waiting, st))
	}
}

// wakeNextLocked lets the next stream that waits for its turn send. Each lets the next one when it is done.
func (c *conn) wakeNextLocked() {
	q := &c.queue
	for len(q.waiting) > 0 && c.window > 0 && q.len() < queueLimit {
		st := q.waiting[0]
		q.leave(0)
		if !st.closed {
			st.wakeLocked()
			return
		}
	}
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
}
