package h2

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A peer is a client that speaks frame by frame.
type peer struct {
	t *testing.T
	*tls.Conn
	*http2.Framer
	block bytes.Buffer
	pack  *hpack.Encoder
	from  *hpack.Decoder
}

// connect connects to a server, and says hello.
func connect(t *testing.T, addr net.Addr, settings ...http2.Setting) *peer {
	t.Helper()
	c, err := tls.Dial("tcp", addr.String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) // #nosec G402 -- a test server
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p := &peer{t: t, Conn: c, Framer: http2.NewFramer(c, c)}
	p.AllowIllegalWrites = true
	p.pack = hpack.NewEncoder(&p.block)
	p.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	_ = p.WriteSettings(settings...)
	return p
}

// fields returns a block of header fields: name, value, name, value.
func (p *peer) fields(pairs ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = p.pack.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return bytes.Clone(p.block.Bytes())
}

func (p *peer) ask(stream uint32, method, path string, more ...string) {
	fields := append([]string{":method", method, ":scheme", "https", ":authority", "test", ":path", path}, more...)
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.fields(fields...), EndHeaders: true, EndStream: method == "GET"})
}

// until reads frames until one is what the test wants.
func until[F http2.Frame](p *peer, wanted func(F) bool) F {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("no such frame has come: %v", err)
		}
		if f, ok := f.(F); ok && wanted(f) {
			return f
		}
	}
}

// ends reads until the server closes the connection, and returns the last GOAWAY before.
func (p *peer) ends() (code http2.ErrCode) {
	for {
		f, err := p.ReadFrame()
		var stream http2.StreamError
		switch {
		case errors.As(err, &stream):
		case err != nil:
			if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset by peer") {
				return code
			}
			p.t.Errorf("the connection goes on: %v", err)
			return code
		}
		if away, ok := f.(*http2.GoAwayFrame); ok {
			code = away.ErrCode
		}
	}
}

// TestFaults: what RFC 9113 calls an error of the connection is told with GOAWAY, and of a stream with RST_STREAM.
func TestFaults(t *testing.T) {
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/hold" {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		<-r.Context().Done()
	}), true)
	const whole, none = true, http2.ErrCode(99)
	for name, c := range map[string]struct {
		do         func(*peer)
		code       http2.ErrCode
		connection bool
	}{
		"headers on an even stream":  {func(p *peer) { p.ask(2, "GET", "/") }, http2.ErrCodeProtocol, whole},
		"a stream that goes down":    {func(p *peer) { p.ask(3, "GET", "/"); p.ask(1, "GET", "/") }, http2.ErrCodeStreamClosed, whole},
		"data on an idle stream":     {func(p *peer) { _ = p.WriteData(5, true, nil) }, http2.ErrCodeProtocol, whole},
		"reset of an idle stream":    {func(p *peer) { _ = p.WriteRSTStream(5, http2.ErrCodeCancel) }, http2.ErrCodeProtocol, whole},
		"window of an idle stream":   {func(p *peer) { _ = p.WriteWindowUpdate(5, 1) }, http2.ErrCodeProtocol, whole},
		"push promise":               {func(p *peer) { _ = p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2}) }, http2.ErrCodeProtocol, whole},
		"an ack of nothing":          {func(p *peer) { _ = p.WriteSettingsAck(); _ = p.WriteSettingsAck() }, http2.ErrCodeProtocol, whole},
		"settings twice":             {func(p *peer) { _ = p.WriteSettings(http2.Setting{ID: 3}, http2.Setting{ID: 3}) }, http2.ErrCodeProtocol, whole},
		"initial window beyond 2^31": {func(p *peer) { _ = p.WriteSettings(http2.Setting{ID: 4, Val: 1 << 31}) }, http2.ErrCodeFlowControl, whole},
		"frames that are too small":  {func(p *peer) { _ = p.WriteSettings(http2.Setting{ID: 5, Val: 1}) }, http2.ErrCodeProtocol, whole},
		"window beyond 2^31":         {func(p *peer) { _ = p.WriteWindowUpdate(0, 1<<31-1) }, http2.ErrCodeFlowControl, whole},
		"a frame that is too large":  {func(p *peer) { _ = p.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, frameSize+1)) }, http2.ErrCodeFrameSize, whole},
		"a window of nothing more":   {func(p *peer) { _ = p.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) }, http2.ErrCodeProtocol, whole},
		"a window that is too long":  {func(p *peer) { _ = p.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 5)) }, http2.ErrCodeFrameSize, whole},
		"a window within headers": {func(p *peer) {
			_ = p.WriteRawFrame(http2.FrameHeaders, 0, 1, nil)
			_ = p.WriteWindowUpdate(0, 1)
		}, http2.ErrCodeProtocol, whole},
		"a ping that is too short": {func(p *peer) { _ = p.WriteRawFrame(http2.FramePing, 0, 0, []byte{1}) }, http2.ErrCodeFrameSize, whole},
		"headers that are no HPACK": {func(p *peer) {
			_ = p.WriteRawFrame(http2.FrameHeaders, 5, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		}, http2.ErrCodeCompression, whole},
		"data within headers":          {func(p *peer) { _ = p.WriteRawFrame(http2.FrameHeaders, 0, 1, nil); _ = p.WriteData(1, true, nil) }, http2.ErrCodeProtocol, whole},
		"more than the connection may": {func(p *peer) { flood(p, 3, 2<<20) }, http2.ErrCodeFlowControl, whole},
		"more than the stream may":     {func(p *peer) { p.ask(1, "POST", "/hold"); flood(p, 1, 300<<10) }, http2.ErrCodeFlowControl, false},
		"window of a stream beyond":    {func(p *peer) { p.ask(1, "GET", "/"); _ = p.WriteWindowUpdate(1, 1<<31-1) }, http2.ErrCodeFlowControl, false},
		"nothing more of a stream":     {func(p *peer) { p.ask(1, "GET", "/"); _ = p.WriteWindowUpdate(1, 0) }, http2.ErrCodeProtocol, false},
		"data behind the end":          {func(p *peer) { p.ask(1, "GET", "/"); _ = p.WriteData(1, true, []byte("x")) }, http2.ErrCodeStreamClosed, false},
		"headers behind the end":       {func(p *peer) { p.ask(1, "GET", "/"); p.ask(1, "GET", "/") }, http2.ErrCodeStreamClosed, false},
		"no path":                      {func(p *peer) { p.ask(1, "GET", "") }, http2.ErrCodeProtocol, false},
		"a path that is none":          {func(p *peer) { p.ask(1, "GET", "a") }, http2.ErrCodeProtocol, false},
		"upper case":                   {func(p *peer) { p.ask(1, "GET", "/", "Upper", "x") }, http2.ErrCodeProtocol, false},
		"a pseudo field that is none":  {func(p *peer) { p.ask(1, "GET", "/", ":odd", "x") }, http2.ErrCodeProtocol, false},
		"extended CONNECT":             {func(p *peer) { p.ask(1, "CONNECT", "/", ":protocol", "websocket") }, http2.ErrCodeProtocol, false},
		"a user in :authority": {func(p *peer) {
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: p.fields(":method", "GET", ":scheme", "https", ":authority", "a@b", ":path", "/")})
		}, http2.ErrCodeProtocol, false},
		"depends on itself":        {func(p *peer) { p.ask(1, "GET", "/"); _ = p.WritePriority(1, http2.PriorityParam{StreamDep: 1}) }, http2.ErrCodeProtocol, false},
		"less than was declared":   {func(p *peer) { p.ask(1, "POST", "/", "content-length", "3"); _ = p.WriteData(1, true, []byte("x")) }, http2.ErrCodeProtocol, false},
		"more than was declared":   {func(p *peer) { p.ask(1, "POST", "/", "content-length", "3"); _ = p.WriteData(1, false, []byte("1234")) }, http2.ErrCodeProtocol, false},
		"a trailer without an end": {func(p *peer) { p.ask(1, "POST", "/"); p.ask(1, "POST", "/") }, http2.ErrCodeProtocol, false},
		"too many streams": {func(p *peer) {
			for i := range uint32(101) {
				p.ask(2*i+1, "GET", "/")
			}
		}, http2.ErrCodeRefusedStream, false},
		"an unknown frame":   {func(p *peer) { _ = p.WriteRawFrame(0xee, 0xff, 1, []byte("x")) }, none, false},
		"an unknown setting": {func(p *peer) { _ = p.WriteSettings(http2.Setting{ID: 0xeeee, Val: 1}) }, none, false},
		"window after reset": {func(p *peer) {
			p.ask(1, "GET", "/")
			_ = p.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = p.WriteWindowUpdate(1, 1)
			_ = p.WriteRSTStream(1, http2.ErrCodeCancel)
		}, none, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := connect(t, s.Listener.Addr())
			until(p, func(f *http2.SettingsFrame) bool { return f.IsAck() })
			_ = p.WriteSettingsAck()
			c.do(p)
			switch {
			case c.connection:
				if code := p.ends(); code != c.code {
					t.Errorf("the connection ends with %v, not %v", code, c.code)
				}
				return
			case c.code != none:
				if f := until(p, func(*http2.RSTStreamFrame) bool { return true }); f.ErrCode != c.code {
					t.Errorf("the stream ends with %v, not %v", f.ErrCode, c.code)
				}
			}
			_ = p.WritePing(false, [8]byte{1, 2})
			until(p, func(f *http2.PingFrame) bool { return f.IsAck() && f.Data == [8]byte{1, 2} })
		})
	}
}

// flood sends n bytes of a body.
func flood(p *peer, stream uint32, n int) {
	if stream == 3 {
		for i := range uint32(8) { // each within its own window
			p.ask(2*i+1, "POST", "/hold")
			for range 15 {
				if p.WriteData(2*i+1, false, make([]byte, 16<<10)) != nil {
					return
				}
			}
		}
		return
	}
	for ; n > 0; n -= 16 << 10 {
		if p.WriteData(stream, false, make([]byte, 16<<10)) != nil {
			return
		}
	}
}

// TestFewFrames: a small answer is two frames.
func TestFewFrames(t *testing.T) {
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "small") }), true)
	p := connect(t, s.Listener.Addr())
	p.ask(1, "GET", "/")
	until(p, func(f *http2.MetaHeadersFrame) bool { return !f.StreamEnded() })
	if f := until(p, func(*http2.DataFrame) bool { return true }); !f.StreamEnded() || string(f.Data()) != "small" {
		t.Error(f)
	}
}

// TestEndlessHeaders: who goes on after GOAWAY is cut off.
func TestEndlessHeaders(t *testing.T) {
	s := start(t, http.NotFoundHandler(), true)
	p := connect(t, s.Listener.Addr())
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields(":method", "GET")})
	more := bytes.Repeat([]byte{0x10, 1, 'a', 1, 'b'}, 1600) // a field that is never indexed
	for range 20_000 {
		if p.WriteContinuation(1, false, more) != nil {
			return
		}
	}
	t.Error("160 MB of headers were read")
}

// TestNotHTTP2: a client that says something else is not waited for.
func TestNotHTTP2(t *testing.T) {
	s := start(t, http.NotFoundHandler(), true)
	c, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) // #nosec G402 -- a test server
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset by peer") {
		t.Error(err)
	}
}

// TestResetEndsTheRequest: the handler of a stream that the client has reset learns of it, wherever it waits.
func TestResetEndsTheRequest(t *testing.T) {
	waits := map[string]func(http.ResponseWriter, *http.Request) error{
		"/context": func(_ http.ResponseWriter, r *http.Request) error { <-r.Context().Done(); return r.Context().Err() },
		"/body":    func(_ http.ResponseWriter, r *http.Request) error { _, err := io.Copy(io.Discard, r.Body); return err },
		"/window":  func(w http.ResponseWriter, _ *http.Request) error { _, err := w.Write(make([]byte, 1<<20)); return err },
	}
	ended := make(chan error, 1)
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		ended <- waits[r.URL.Path](w, r)
	}), true)
	for path := range waits {
		for how, end := range map[string]func(*peer){
			"reset":  func(p *peer) { _ = p.WriteRSTStream(1, http2.ErrCodeCancel) },
			"closed": func(p *peer) { p.Close() },
		} {
			t.Run(path+" "+how, func(t *testing.T) {
				p := connect(t, s.Listener.Addr())
				p.ask(1, "POST", path)
				until(p, func(*http2.MetaHeadersFrame) bool { return true })
				end(p)
				select {
				case err := <-ended:
					if err == nil {
						t.Error("it does not know")
					}
				case <-time.After(20 * time.Second):
					t.Fatal("it still waits")
				}
			})
		}
	}
}

// TestShutDown: streams that are there are answered, new ones are not taken, and the connection ends.
func TestShutDown(t *testing.T) {
	release, began := make(chan struct{}), make(chan struct{})
	var served atomic.Int32
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		close(began)
		<-release
		_, _ = io.WriteString(w, "answered")
	}), true)
	p := connect(t, s.Listener.Addr())
	p.ask(1, "GET", "/")
	<-began
	done := make(chan error, 1)
	go func() { done <- s.Config.Shutdown(t.Context()) }()
	if away := until(p, func(*http2.GoAwayFrame) bool { return true }); away.ErrCode != 0 || away.LastStreamID != 1 {
		t.Error(away)
	}
	p.ask(3, "GET", "/")
	_ = p.WriteWindowUpdate(3, 1)
	close(release)
	if f := until(p, func(f *http2.DataFrame) bool { return len(f.Data()) > 0 }); string(f.Data()) != "answered" {
		t.Errorf("%q", f.Data())
	}
	if code := p.ends(); code != 0 {
		t.Error(code)
	}
	if err := <-done; err != nil || served.Load() != 1 {
		t.Error(err, served.Load())
	}
}

// TestIdleConnectionsEnd: the client is told so, but not while it waits for an answer.
func TestIdleConnectionsEnd(t *testing.T) {
	const idle = 100 * time.Millisecond
	s := startWith(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(3 * idle) }), Options{MaxStreams: 1, StreamWindow: 1 << 10, ConnWindow: 1 << 20, IdleTimeout: idle})
	p := connect(t, s.Listener.Addr())
	p.ask(1, "GET", "/")
	until(p, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == 1 })
	if away := until(p, func(*http2.GoAwayFrame) bool { return true }); away.ErrCode != 0 {
		t.Error(away)
	}
	if code := p.ends(); code != 0 {
		t.Error(code)
	}
}

// TestSlowReader: a client that reads nothing costs a bounded queue, and nobody else waits for it.
func TestSlowReader(t *testing.T) {
	var written atomic.Int64
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			return
		}
		for piece := make([]byte, 10_000); ; written.Add(int64(len(piece))) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}), true)
	p := connect(t, s.Listener.Addr(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	_ = p.WriteWindowUpdate(0, 1<<31-1-defaultWindow)
	for i := range uint32(10) {
		p.ask(2*i+1, "GET", "/much")
	}
	last := int64(-1)
	for now := written.Load(); now != last; now = written.Load() { // until nothing moves
		last = now
		time.Sleep(200 * time.Millisecond)
	}
	if limit := int64(40 << 20); last > limit { // sockets' buffers, above all
		t.Errorf("%d bytes were taken from the handlers", last)
	}
	other := connect(t, s.Listener.Addr())
	other.ask(1, "GET", "/other")
	until(other, func(*http2.MetaHeadersFrame) bool { return true })
}

// TestUnreadBodies: what handlers have left unread, in whatever way, is not held against the connection.
func TestUnreadBodies(t *testing.T) {
	leave := map[string]func(http.ResponseWriter, *http.Request){
		"/expired": func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		},
		"/closed":   func(_ http.ResponseWriter, r *http.Request) { r.Body.Close() },
		"/returned": func(http.ResponseWriter, *http.Request) {},
	}
	for path, left := range leave {
		t.Run(path[1:], func(t *testing.T) {
			arrived := make(chan struct{})
			s := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadFull(r.Body, make([]byte, 1)); err != nil {
					t.Error(err)
				}
				<-arrived // and with it what the client sent before
				left(w, r)
			}), Options{MaxStreams: 10, StreamWindow: 60_000, ConnWindow: 70_000})
			p := connect(t, s.Listener.Addr())
			until(p, func(f *http2.SettingsFrame) bool { return f.IsAck() })
			window := 70_000
			for id := uint32(1); id < 20; id += 2 {
				p.ask(id, "POST", path)
				for sent := 0; sent < 50_000; sent += 10_000 {
					for window < 10_000 {
						window += int(until(p, func(f *http2.WindowUpdateFrame) bool { return f.StreamID == 0 }).Increment)
					}
					_ = p.WriteData(id, false, make([]byte, 10_000))
					window -= 10_000
				}
				_ = p.WritePing(false, [8]byte{byte(id)})
				for answered := false; !answered; {
					f, err := p.ReadFrame()
					if err != nil {
						t.Fatal(err)
					}
					switch f := f.(type) {
					case *http2.WindowUpdateFrame:
						window += int(f.Increment) * truth(f.StreamID == 0)
					case *http2.PingFrame:
						answered = true
					}
				}
				arrived <- struct{}{}
			}
		})
	}
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestTurns: many streams that wait for the connection's window all get on.
func TestTurns(t *testing.T) {
	const streams, size = 50, 100_000
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, size))
	}), true)
	p := connect(t, s.Listener.Addr(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	for i := range uint32(streams) {
		p.ask(2*i+1, "GET", "/"+strconv.Itoa(int(i)))
	}
	got, open := 0, streams
	for open > 0 {
		f := until(p, func(*http2.DataFrame) bool { return true })
		got += len(f.Data())
		if f.StreamEnded() {
			open--
			_ = p.WriteRSTStream(f.StreamID, http2.ErrCodeCancel) // of what is over
		}
		if len(f.Data()) > 0 {
			_ = p.WriteWindowUpdate(0, f.Length)
		}
	}
	if got != streams*size {
		t.Errorf("%d bytes of %d", got, streams*size)
	}
}
