package h2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/net/http2"
)

// A stream is a request and its answer.
type stream struct {
	c        *conn
	id       uint32
	ctx      context.Context // of the request
	cancel   context.CancelFunc
	request  *http.Request
	handler  http.Handler
	body     body
	response response
	wake     chan struct{} // something may have changed for who waits to send
	head     int64         // bytes of the request's fields
	phase    phase         // the connection's mu guards it and all below

	// Of what comes.
	declared, got int64 // bytes of the body; declared -1: unknown
	in            inflow
	ended         bool        // the client has sent everything
	trailer       http.Header // what it has sent behind the body
	// Of what goes.
	window int64
	begun  bool // something of the body has gone
	waits  bool // in the queue's list
	closed bool
	err    error // why it is closed

	readTimer, writeTimer *time.Timer
}

func (st *stream) wakeLocked() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// openLocked makes a stream of a request whose head has come.
func (c *conn) openLocked(id uint32, head int64, ended bool) *stream {
	st := &stream{c: c, id: id, head: head, ended: ended, declared: -1, window: c.initial, in: newInflow(c.s.options.StreamWindow), wake: make(chan struct{}, 1)}
	st.ctx, st.cancel = context.WithCancel(c.ctx)
	st.body.init(st)
	st.response.st = st
	c.streams[id] = st
	c.load.heads += head
	return st
}

// closeLocked ends a stream: nothing more is sent, and what comes for it is not wanted.
func (c *conn) closeLocked(st *stream, err error) {
	if st.closed {
		return
	}
	st.closed, st.err = true, err
	var reset http2.StreamError
	if errors.As(err, &reset) {
		st.err = errStreamClosed
		if reset.Cause != nil {
			st.err = reset.Cause
		}
	}
	delete(c.streams, st.id)
	c.load.desert(st)
	for _, t := range []*time.Timer{st.readTimer, st.writeTimer} {
		if t != nil {
			t.Stop()
		}
	}
	c.giveBackLocked(nil, st.body.fail(err))
	st.cancel()
	if len(c.streams) > 0 {
		return
	}
	c.idleSince = time.Now()
	if c.away {
		c.lingerLocked()
	}
}

// resetLocked ends a stream on both sides.
func (c *conn) resetLocked(id uint32, code http2.ErrCode, err error) {
	_ = c.framer.WriteRSTStream(id, code)
	if st := c.streams[id]; st != nil {
		c.closeLocked(st, err)
	}
	c.flushControlLocked()
}

// run answers the request.
func (st *stream) run() {
	returned := false
	defer func() {
		if !returned {
			if cause := recover(); cause != nil && cause != http.ErrAbortHandler {
				st.c.panicked(cause, debug.Stack())
			}
			st.abort(http2.ErrCodeInternal, errors.New("http2: the handler has panicked"))
		}
		st.c.mu.Lock()
		defer st.c.mu.Unlock()
		st.c.doneLocked(st)
	}()
	st.handler.ServeHTTP(&st.response, st.request)
	returned = true
	st.response.finish()
	if st.request.MultipartForm != nil {
		_ = st.request.MultipartForm.RemoveAll() // it is temporary
	}
}

// abort resets the stream unless it has ended.
func (st *stream) abort(code http2.ErrCode, err error) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !st.closed {
		c.resetLocked(st.id, code, http2.StreamError{StreamID: st.id, Code: code, Cause: err})
	}
}

// sendLocked queues parts of the body, and with the last of them the end if end says so.
func (st *stream) sendLocked(end bool, parts ...[]byte) error {
	c := st.c
	defer c.wakeNextLocked()
	for len(parts) > 0 && len(parts[len(parts)-1]) == 0 {
		parts = parts[:len(parts)-1]
	}
	for i, p := range parts {
		for len(p) > 0 {
			n, err := c.roomLocked(st, len(p))
			if err != nil {
				return err
			}
			c.queue.data(st.id, p[:n], end && n == len(p) && i == len(parts)-1)
			p = p[n:]
		}
	}
	if !end {
		return nil
	}
	if len(parts) == 0 {
		c.queue.data(st.id, nil, true)
	}
	c.finishLocked(st)
	return nil
}

// finishLocked is behind the last frame of an answer. A client that still sends is told that nobody listens (section 8.1).
func (c *conn) finishLocked(st *stream) {
	if !st.ended {
		_ = c.framer.WriteRSTStream(st.id, http2.ErrCodeNo)
	}
	st.phase = answered
	c.closeLocked(st, errHandlerDone)
}

// A deadline in the past counts at once; others have a timer.
func (st *stream) setDeadline(timer **time.Timer, at time.Time, expired func()) {
	if !at.IsZero() && !at.After(time.Now()) {
		expired()
		return
	}
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if st.closed {
		return
	}
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	if !at.IsZero() {
		*timer = time.AfterFunc(time.Until(at), expired)
	}
}

func (st *stream) readExpired() { st.body.drop(fmt.Errorf("%w", os.ErrDeadlineExceeded)) }

func (st *stream) writeExpired() { st.abort(http2.ErrCodeInternal, os.ErrDeadlineExceeded) }
