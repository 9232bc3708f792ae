package h2

import (
	"fmt"
	"net/http"
	"net/textproto"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// pieceSize is how much of an answer is gathered before it goes to the connection.
const pieceSize = 4 << 10

// A response is a stream's http.ResponseWriter. A handler uses it from one goroutine at a time, but for deadlines.
type response struct {
	st     *stream
	header http.Header
	status int    // 0: WriteHeader has not been called
	parts  *parts // nil: none
	sent   bool   // the header
	length int64  // what Content-Length says; -1: nothing
	body   int64  // bytes that the handler has written
	done   bool   // it has returned
}

// parts are of an answer before they go to the connection.
type parts struct {
	fields []hpack.HeaderField
	piece  []byte
}

var partsPool = sync.Pool{New: func() any { return &parts{piece: make([]byte, 0, pieceSize)} }}

// Header implements http.ResponseWriter.
func (r *response) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

// WriteHeader implements http.ResponseWriter.
func (r *response) WriteHeader(code int) {
	if r.status != 0 || r.done {
		return
	}
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", code)) // as net/http
	}
	if code < 200 {
		r.interim(code)
		return
	}
	r.status, r.length = code, -1
	r.parts = partsPool.Get().(*parts)
	r.parts.fields = appendFields(r.parts.fields[:0], r.header)
	if v := r.header.Get("Content-Length"); v != "" {
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil { // as if it had not been said
			r.parts.fields = slices.DeleteFunc(r.parts.fields, isLength)
			return
		}
		r.length = int64(n) // #nosec G115 -- 63 bits
	}
}

func isLength(f hpack.HeaderField) bool { return f.Name == "content-length" }

// interim sends a header before the one that counts (RFC 9110, section 15.2).
func (r *response) interim(code int) {
	fields := slices.DeleteFunc(appendFields(nil, r.header), isLength)
	c := r.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !r.st.closed {
		c.fieldsLocked(r.st.id, code, fields, false)
		c.flushLocked()
	}
}

// Write implements io.Writer.
func (r *response) Write(p []byte) (int, error) {
	if err := r.count(len(p)); err != nil {
		return 0, err
	}
	switch {
	case r.request().Method == http.MethodHead && r.sent:
	case len(r.parts.piece)+len(p) <= pieceSize:
		r.parts.piece = append(r.parts.piece, p...)
	default:
		if err := r.queue(false, p); err != nil {
			return 0, err
		}
		r.st.c.flushTogether()
	}
	return len(p), nil
}

// WriteString implements io.StringWriter.
func (r *response) WriteString(s string) (int, error) { return r.Write([]byte(s)) }

// count says whether n bytes may be written.
func (r *response) count(n int) error {
	if r.done {
		return errHandlerDone
	}
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !bodyAllowed(r.status) {
		return http.ErrBodyNotAllowed
	}
	if r.body += int64(n); r.length >= 0 && r.body > r.length {
		return http.ErrContentLength
	}
	return nil
}

func (r *response) request() *http.Request { return r.st.request }

// Flush implements http.Flusher.
func (r *response) Flush() { _ = r.FlushError() }

// FlushError sends what has been written. It lets those who can go on do so first: where an event wakes many, the first of them
// would send its own alone.
func (r *response) FlushError() error {
	if r.done {
		return errHandlerDone
	}
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.sent && len(r.parts.piece) == 0 {
		return nil // a write has taken everything along
	}
	if err := r.queue(false, nil); err != nil {
		return err
	}
	r.st.c.flushTogether()
	return nil
}

// finish is called when the handler has returned.
func (r *response) finish() {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	r.done = true
	if r.length >= 0 && r.body < r.length && r.request().Method != http.MethodHead && bodyAllowed(r.status) {
		r.st.abort(http2.ErrCodeInternal, http.ErrContentLength) // half an answer must not look like a whole one
	} else if r.queue(true, nil) == nil {
		r.st.c.flushTogether()
	}
	r.parts.piece = r.parts.piece[:0]
	clear(r.parts.fields)
	partsPool.Put(r.parts)
	r.parts = nil
}

// queue puts the header, unless it has been sent, what has been gathered and p into the connection's queue. end is behind them.
func (r *response) queue(end bool, p []byte) error {
	st, c := r.st, r.st.c
	trailer := r.trailer(end)
	head := r.request().Method == http.MethodHead
	if !r.sent {
		r.complete(end, p)
	}
	if head {
		defer func() { r.parts.piece = r.parts.piece[:0] }()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case head && r.sent:
		return nil
	case st.closed:
		return st.err
	case !r.sent:
		r.sent = true
		whole := (end && trailer == nil && len(r.parts.piece)+len(p) == 0) || head
		c.fieldsLocked(st.id, r.status, r.parts.fields, whole)
		if whole {
			c.finishLocked(st)
			return nil
		}
	}
	err := error(nil)
	if end && trailer == nil || len(r.parts.piece)+len(p) > 0 {
		err = st.sendLocked(end && trailer == nil, r.parts.piece, p)
	}
	r.parts.piece = r.parts.piece[:0]
	if err == nil && trailer != nil {
		c.fieldsLocked(st.id, 0, trailer, true)
		c.finishLocked(st)
	}
	return err
}

// complete adds the fields that a handler need not care for.
func (r *response) complete(end bool, p []byte) {
	first := r.parts.piece
	if len(first) == 0 {
		first = p
	}
	add := func(name, value string) {
		r.parts.fields = append(r.parts.fields, hpack.HeaderField{Name: name, Value: value})
	}
	_, typed := r.header["Content-Type"]
	if !typed && r.header.Get("Content-Encoding") == "" && len(first) > 0 && bodyAllowed(r.status) {
		add("content-type", http.DetectContentType(first))
	}
	size := len(r.parts.piece) + len(p)
	if r.length < 0 && end && bodyAllowed(r.status) && (size > 0 || r.request().Method != http.MethodHead) {
		add("content-length", strconv.Itoa(size))
	}
	if _, dated := r.header["Date"]; !dated {
		add("date", date())
	}
	if r.header.Get("Connection") == "close" { // what HTTP/1 would do
		r.st.c.goAway(http2.ErrCodeNo)
	}
}

// trailer returns the fields behind an answer: those that were announced, and those whose names say so.
func (r *response) trailer(end bool) (fields []hpack.HeaderField) {
	if !end {
		return nil
	}
	add := func(key string, values []string) {
		if !httpguts.ValidTrailerHeader(key) {
			return
		}
		for _, v := range values {
			if httpguts.ValidHeaderFieldValue(v) {
				fields = append(fields, hpack.HeaderField{Name: strings.ToLower(key), Value: v})
			}
		}
	}
	for _, v := range r.header["Trailer"] {
		for _, key := range strings.Split(v, ",") {
			key = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(key))
			add(key, r.header[key])
		}
	}
	for key, values := range r.header {
		if name, ok := strings.CutPrefix(key, http.TrailerPrefix); ok {
			add(name, values)
		}
	}
	return fields
}

// fieldsLocked queues a HEADERS frame, and CONTINUATION frames if one cannot hold it. Status 0: a trailer.
func (c *conn) fieldsLocked(id uint32, status int, fields []hpack.HeaderField, end bool) {
	c.block.Reset()
	if status != 0 {
		_ = c.pack.WriteField(hpack.HeaderField{Name: ":status", Value: statusText(status)})
	}
	for _, f := range fields {
		_ = c.pack.WriteField(f)
	}
	block := c.block.Bytes()
	first := block[:min(len(block), c.frameSize)]
	rest := block[len(first):]
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(rest) == 0})
	for len(rest) > 0 {
		next := rest[:min(len(rest), c.frameSize)]
		rest = rest[len(next):]
		_ = c.framer.WriteContinuation(id, len(rest) == 0, next)
	}
}

func statusText(code int) string {
	if code == http.StatusOK {
		return "200"
	}
	return strconv.Itoa(code)
}

// flushTogether writes what is queued, after others that can go on have added to it.
func (c *conn) flushTogether() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queue.writing || c.queue.gathering || c.queue.frames == nil {
		return
	}
	c.queue.gathering = true
	c.mu.Unlock()
	runtime.Gosched()
	c.mu.Lock()
	c.queue.gathering = false
	c.flushLocked()
}

// appendFields adds those of h that have a meaning in HTTP/2, named as it wants them.
func appendFields(fields []hpack.HeaderField, h http.Header) []hpack.HeaderField {
	for key, values := range h {
		if slices.Contains(connectionFields, key) || !httpguts.ValidHeaderFieldName(key) { // not what begins with TrailerPrefix, either
			continue
		}
		name := lower(key)
		for _, v := range values {
			if httpguts.ValidHeaderFieldValue(v) {
				fields = append(fields, hpack.HeaderField{Name: name, Value: v})
			}
		}
	}
	return fields
}

// bodyAllowed says whether an answer may have a body (RFC 9110, section 6.4.1).
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// SetReadDeadline serves http.ResponseController.
func (r *response) SetReadDeadline(at time.Time) error {
	r.st.setDeadline(&r.st.readTimer, at, r.st.readExpired)
	return nil
}

// SetWriteDeadline serves http.ResponseController. A stream whose time is up is reset.
func (r *response) SetWriteDeadline(at time.Time) error {
	r.st.setDeadline(&r.st.writeTimer, at, r.st.writeExpired)
	return nil
}

// EnableFullDuplex serves http.ResponseController: streams always are.
func (r *response) EnableFullDuplex() error { return nil }
