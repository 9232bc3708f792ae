package h2

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

var (
	errClientGone   = errors.New("http2: the client is gone")
	errStreamClosed = errors.New("http2: the stream is closed")
	errHandlerDone  = errors.New("http2: the handler has returned")
)

// defaultWindow is what either side may send of a stream, and of all, before anything is agreed on.
const defaultWindow = 65535

// readAhead holds some of the small frames that clients send together: two for each few kilobytes that they have read.
const readAhead = 512

// A conn is one connection. The goroutine that serves it reads; handlers of its streams have goroutines of their own.
type conn struct {
	s       *server
	tls     net.Conn
	wire    *wire
	handler http.Handler
	ctx     context.Context // ends with the connection
	state   tls.ConnectionState
	remote  string
	reader  *bufio.Reader
	framer  *http2.Framer // reads for the goroutine that serves; writes into the queue, under mu
	names   names         // of header fields
	trusted atomic.Bool

	mu        sync.Mutex
	queue     queue
	pack      *hpack.Encoder
	block     bytes.Buffer // what pack makes
	streams   map[uint32]*stream
	newest    uint32 // of the client's streams
	load      load
	idleSince time.Time
	idle      *time.Timer
	settings  bool // the client's have come
	unacked   int  // settings of ours
	window    int64
	initial   int64 // window of a new stream
	frameSize int   // the largest that the client takes, as far as we would use it
	in        inflow
	away      bool // GOAWAY has been sent
	fault     bool // with an error
	mute      bool // nothing more is sent
	err       error
}

func newConn(s *server, t net.Conn, w *wire, state tls.ConnectionState) *conn {
	c := &conn{s: s, tls: t, wire: w, state: state, remote: t.RemoteAddr().String(),
		streams: map[uint32]*stream{}, window: defaultWindow, initial: defaultWindow, frameSize: 16 << 10, idleSince: time.Now(),
		in: newInflow(defaultWindow), load: newLoad(&s.options)}
	c.pack = hpack.NewEncoder(&c.block)
	c.pack.SetMaxDynamicTableSizeLimit(tableSize)
	c.reader = bufio.NewReaderSize(t, readAhead)
	c.framer = http2.NewFramer(&c.queue, c.reader)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	c.framer.MaxHeaderListSize = c.maxHeaders()
	c.framer.SetMaxReadFrameSize(frameSize)
	c.framer.SetReuseFrames()
	return c
}

// maxHeaders is the size of a request's fields, as section 6.5.2 counts them: 32 bytes more for each.
func (c *conn) maxHeaders() uint32 {
	n := c.s.hs.MaxHeaderBytes
	if n <= 0 {
		n = http.DefaultMaxHeaderBytes
	}
	return uint32(min(n, math.MaxUint32/2)) + 10*32 // #nosec G115 -- bounded
}

// serve reads until the connection ends.
func (c *conn) serve() {
	defer c.close()
	c.wire.hold(true)
	if !c.hello() {
		return
	}
	if t := c.s.options.IdleTimeout; t > 0 {
		c.mu.Lock()
		c.idle = time.AfterFunc(t, c.checkIdle)
		c.mu.Unlock()
	}
	for {
		if err := c.next(); err != nil && !c.survives(err) {
			return
		}
	}
}

// next reads what comes next, and deals with it.
func (c *conn) next() error {
	if done, err := c.updates(); done || err != nil {
		return err
	}
	f, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	return c.process(f)
}

// updates deals with the WINDOW_UPDATE frames that come next: two for every few kilobytes that a client has read, which is
// most of what one with many watches sends. It says whether there were any.
func (c *conn) updates() (some bool, err error) {
	head, err := c.reader.Peek(headerSize)
	if err != nil || !isUpdate(head) {
		return false, nil // the framer meets the error again
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.settings && c.reader.Buffered() >= updateSize {
		frame, _ := c.reader.Peek(updateSize)
		increment := binary.BigEndian.Uint32(frame[headerSize:]) & math.MaxInt32
		if !isUpdate(frame) || increment == 0 { // which the framer knows how to refuse
			break
		}
		id := binary.BigEndian.Uint32(frame[5:]) & math.MaxInt32
		_, _ = c.reader.Discard(updateSize)
		some = true
		if err := c.updateLocked(id, increment); err != nil {
			return true, err
		}
	}
	return some, nil
}

// isUpdate says whether a frame's header is that of a WINDOW_UPDATE of the right size.
func isUpdate(head []byte) bool {
	return head[0] == 0 && head[1] == 0 && head[2] == updateSize-headerSize && http2.FrameType(head[3]) == http2.FrameWindowUpdate
}

// discard reads what is on its way until the client closes, or has had time to. Whoever goes on all the same is not
// listened to.
func (c *conn) discard() { _, _ = io.CopyN(io.Discard, c.tls, discardLimit) }

// hello sends what clients are to know, and waits for their preface.
func (c *conn) hello() bool {
	o := &c.s.options
	c.mu.Lock()
	_ = c.framer.WriteSettings(
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: frameSize},
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: c.load.mostStreams},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: c.maxHeaders()},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(o.StreamWindow)}, // #nosec G115 -- positive
		http2.Setting{ID: http2.SettingNoRFC7540Priorities, Val: 1},
	)
	c.unacked++
	if more := o.ConnWindow - defaultWindow; more > 0 {
		c.in.grow(more)
		_ = c.framer.WriteWindowUpdate(0, uint32(more)) // #nosec G115 -- positive
	}
	c.flushLocked()
	c.mu.Unlock()
	if c.state.Version < tls.VersionTLS12 || !goodSuite(c.state.CipherSuite) {
		c.goAway(http2.ErrCodeInadequateSecurity)
		return false
	}
	_ = c.tls.SetReadDeadline(time.Now().Add(helloTimeout)) // until its settings have come, too
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.tls, preface); err != nil || string(preface) != http2.ClientPreface {
		return false
	}
	return true
}

// survives deals with what is wrong with a frame, and says whether the connection goes on.
func (c *conn) survives(err error) bool {
	var stream http2.StreamError
	var fault http2.ConnectionError
	switch {
	case errors.As(err, &stream):
		c.mu.Lock()
		defer c.mu.Unlock()
		if stream.StreamID%2 == 1 && !c.away {
			c.newest = max(c.newest, stream.StreamID)
		}
		c.resetLocked(stream.StreamID, stream.Code, stream)
		return true
	case errors.As(err, &fault):
		c.s.logf("http2: %s does not keep to the protocol: %v", c.remote, err)
		c.goAway(http2.ErrCode(fault))
		c.discard()
	case errors.Is(err, http2.ErrFrameTooLarge):
		c.goAway(http2.ErrCodeFrameSize)
		c.discard()
	}
	return false
}

// process deals with a frame. An error that is one of http2's is told to the client.
func (c *conn) process(f http2.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.flushControlLocked()
	if c.err != nil { // what has been read ahead is not begun: nobody would end it
		return c.err
	}
	if !c.settings {
		if s, ok := f.(*http2.SettingsFrame); !ok || s.IsAck() {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		c.settings = true
		_ = c.tls.SetReadDeadline(time.Time{})
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return c.headersLocked(f)
	case *http2.DataFrame:
		return c.dataLocked(f)
	case *http2.WindowUpdateFrame:
		return c.updateLocked(f.StreamID, f.Increment)
	case *http2.RSTStreamFrame:
		return c.resetByClientLocked(f)
	case *http2.SettingsFrame:
		return c.settingsLocked(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = c.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		c.goAwayLocked(http2.ErrCodeNo)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
		}
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

// settingsLocked heeds what the client says of itself.
func (c *conn) settingsLocked(f *http2.SettingsFrame) error {
	if f.IsAck() {
		if c.unacked--; c.unacked < 0 {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		return nil
	}
	if f.NumSettings() > 100 || f.HasDuplicates() { // nobody means well by that
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if err := f.ForeachSetting(c.settingLocked); err != nil {
		return err
	}
	_ = c.framer.WriteSettingsAck()
	return nil
}

func (c *conn) settingLocked(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.pack.SetMaxDynamicTableSize(s.Val)
	case http2.SettingMaxFrameSize:
		c.frameSize = int(min(s.Val, frameSize))
	case http2.SettingNoRFC7540Priorities:
		if s.Val > 1 {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
	case http2.SettingInitialWindowSize: // of the streams that are there, too: section 6.9.2
		growth := int64(s.Val) - c.initial
		c.initial = int64(s.Val)
		for _, st := range c.streams {
			if st.window += growth; st.window > math.MaxInt32 {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
			st.wakeLocked()
		}
	}
	return nil
}

// updateLocked lets more be sent: of a stream, or with id 0 of all.
func (c *conn) updateLocked(id, increment uint32) error {
	if id == 0 {
		if c.window += int64(increment); c.window > math.MaxInt32 {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.wakeNextLocked()
		return nil
	}
	st := c.streams[id]
	if st == nil {
		return c.mustHaveBeenLocked(id)
	}
	if st.window += int64(increment); st.window > math.MaxInt32 {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeFlowControl}
	}
	st.wakeLocked()
	return nil
}

// mustHaveBeenLocked is about a stream that is not there: a client that speaks of one that it has not opened yet is at fault
// (section 5.1). After GOAWAY it may be one that is not served.
func (c *conn) mustHaveBeenLocked(id uint32) error {
	if !c.away && (id%2 == 0 || id > c.newest) {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

func (c *conn) resetByClientLocked(f *http2.RSTStreamFrame) error {
	st := c.streams[f.StreamID]
	if st == nil {
		return c.mustHaveBeenLocked(f.StreamID)
	}
	c.closeLocked(st, http2.StreamError{StreamID: f.StreamID, Code: f.ErrCode})
	return nil
}

// goAway tells the client why no more requests are taken. Without an error, those that are there are answered first.
func (c *conn) goAway(code http2.ErrCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goAwayLocked(code)
}

func (c *conn) goAwayLocked(code http2.ErrCode) {
	graceful := code == http2.ErrCodeNo
	if c.err != nil || c.fault || c.away && graceful {
		return
	}
	c.away, c.fault = true, !graceful
	_ = c.framer.WriteGoAway(c.newest, code, nil)
	c.flushLocked()
	if !graceful || len(c.streams) == 0 {
		c.lingerLocked()
	}
}

// lingerLocked has the reader end soon.
func (c *conn) lingerLocked() { _ = c.tls.SetReadDeadline(time.Now().Add(lingerTimeout)) }

// checkIdle ends a connection that nobody has used for a while, or comes again. So requests need not touch a timer.
func (c *conn) checkIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	rest := c.s.options.IdleTimeout
	if len(c.streams) == 0 {
		if rest -= time.Since(c.idleSince); rest <= 0 {
			c.goAwayLocked(http2.ErrCodeNo)
			return
		}
	}
	c.idle.Reset(rest)
}

// close ends what is there when nothing more can be read.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		c.idle.Stop()
	}
	c.flushLocked()
	c.failLocked(errClientGone)
	if !c.queue.writing {
		c.wire.hold(false) // TLS says goodbye when net/http closes it
	}
}

// failLocked ends all streams: nothing can be sent any more.
func (c *conn) failLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	for _, st := range c.streams {
		c.closeLocked(st, err)
	}
	c.load.unstarted = nil
	_ = c.wire.Conn.SetReadDeadline(time.Unix(1, 0)) // the reader notices
}

// panicked says what a handler has met.
func (c *conn) panicked(cause any, stack []byte) {
	c.s.logf("http2: panic serving %s: %v\n%s", c.remote, cause, stack)
}
