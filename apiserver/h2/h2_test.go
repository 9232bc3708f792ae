package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// serve starts a server whose /N answers with N bytes, in pieces, after it has read what it was sent.
func serve(t *testing.T) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || !r.TLS.HandshakeComplete {
			t.Error("the server does not know of TLS")
		}
		got, err := io.Copy(io.Discard, r.Body)
		if err != nil || got != max(0, r.ContentLength) {
			t.Errorf("got %d of %d bytes: %v", got, r.ContentLength, err)
		}
		n, _ := strconv.Atoi(r.URL.Path[1:])
		for piece := bytes.Repeat([]byte("x"), 5000); n > 0; n -= len(piece) {
			if _, err := w.Write(piece[:min(n, len(piece))]); err != nil {
				return // the client has gone
			}
			w.(http.Flusher).Flush()
		}
	}))
	if err := Configure(s.Config, Options{MaxStreams: 100, StreamWindow: 256 << 10, ConnWindow: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	s.Listener = Listen(s.Listener)
	s.TLS = s.Config.TLSConfig
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// TestManyStreams: much goes both ways on many streams of one connection.
func TestManyStreams(t *testing.T) {
	s := serve(t)
	c := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // #nosec G402 -- a test server
	defer c.CloseIdleConnections()
	const size = 3 << 20
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			r, err := c.Post(s.URL+"/"+strconv.Itoa(size), "text/plain", bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			if n, err := io.Copy(io.Discard, r.Body); n != size || err != nil || r.ProtoMajor != 2 {
				t.Errorf("HTTP/%d: %d of %d bytes came: %v", r.ProtoMajor, n, size, err)
			}
		})
	}
	wg.Wait()
}

// TestNarrowWindows: a client of small windows, which adds to them in whatever way, is sent everything.
func TestNarrowWindows(t *testing.T) {
	s := serve(t)
	for name, c := range map[string]struct {
		window uint32
		every  int // bytes that the client waits for before it adds them to its windows
	}{
		"at once":             {65535, 1},
		"by the KB":           {65535, 1000},
		"half":                {65535, 32768},
		"all":                 {65535, 65535},
		"a narrow stream":     {1000, 1},
		"all of a narrow one": {1000, 1000},
		"next to nothing":     {3, 1},
	} {
		t.Run(name, func(t *testing.T) { receive(t, s, c.window, c.every, 200_000/max(1, 100/int(c.window))) })
	}
}

// receive asks for a number of bytes and adds to the windows by hand.
func receive(t *testing.T, s *httptest.Server, window uint32, every, size int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}} // #nosec G402 -- a test server
	c, err := d.DialContext(ctx, "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	var fields bytes.Buffer
	e := hpack.NewEncoder(&fields)
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "test"}, {":path", "/" + strconv.Itoa(size)}} {
		if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}))
	check(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: fields.Bytes(), EndStream: true, EndHeaders: true}))
	got, owed := 0, 0
	for {
		in, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v", got, size, err)
		}
		data, ok := in.(*http2.DataFrame)
		if !ok {
			continue
		}
		got += len(data.Data())
		owed += len(data.Data())
		if data.StreamEnded() {
			break
		}
		if owed >= every {
			check(f.WriteWindowUpdate(0, uint32(owed)))
			check(f.WriteWindowUpdate(1, uint32(owed)))
			owed = 0
		}
	}
	if got != size {
		t.Errorf("%d of %d bytes came", got, size)
	}
}
