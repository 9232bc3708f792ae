package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestNothingBeginsBehindTheEnd: what is read when nothing can be sent any more has no handler: nobody would end it.
func TestNothingBeginsBehindTheEnd(t *testing.T) {
	var said bytes.Buffer
	p := &peer{Framer: http2.NewFramer(&said, nil)}
	p.pack = hpack.NewEncoder(&p.block)
	said.WriteString(http2.ClientPreface)
	_ = p.WriteSettings()
	p.ask(1, "POST", "/")
	r := &recording{in: bytes.NewReader(said.Bytes())}
	s := &server{hs: &http.Server{ErrorLog: log.New(io.Discard, "", 0)}, options: Options{MaxStreams: 3, StreamWindow: 1000, ConnWindow: 70_000}, conns: map[*conn]struct{}{}}
	c := newConn(s, r, newWire(r), tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.ctx = ctx
	c.handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Error("it has a handler") })
	c.mu.Lock()
	c.failLocked(errClientGone) // as who writes notices it
	c.mu.Unlock()
	c.serve()
	if n := loadOf(c).running; n > 0 || len(c.streams) > 0 {
		t.Errorf("%d handlers, %d streams", n, len(c.streams))
	}
}

// TestIdleClientsLeave: a client that is asked to leave, and waits for nothing, hears at once that nothing more comes, and may
// still be in the middle of a sentence.
func TestIdleClientsLeave(t *testing.T) {
	for range 5 { // unless the machine is so busy that its time is up before
		conns := make(chan *conn, 1)
		s := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { conns <- w.(Shared).Connection().(*conn) }), true)
		p := connect(t, s.Listener.Addr())
		p.ask(1, "GET", "/")
		until(p, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == 1 })
		c := <-conns
		done := make(chan error, 1)
		go func() { done <- s.Config.Shutdown(t.Context()) }()
		until(p, func(f *http2.GoAwayFrame) bool { return f.LastStreamID == 1 && f.ErrCode == http2.ErrCodeNo })
		p.ask(3, "GET", "/")
		_ = p.WritePing(false, [8]byte{})
		if err := p.serveUntil(func(http2.Frame) bool { return false }); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		c.mu.Lock()
		open := c.err == nil
		c.mu.Unlock()
		p.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if open {
			return
		}
	}
	t.Error("they hear it when their time is up")
}

// TestLeavingLosesNothing: clients that are asked to leave now and then, while they have much to ask, are answered all the same.
func TestLeavingLosesNothing(t *testing.T) {
	var served atomic.Int32
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1)%5 == 0 {
			w.Header().Set("Connection", "close")
		}
		_, _ = io.Copy(w, r.Body)
	}), true)
	c := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // #nosec G402 -- a test server
	defer c.CloseIdleConnections()
	var askers sync.WaitGroup
	for i := range 10 {
		askers.Go(func() {
			for range 50 {
				r, err := c.Post(s.URL, "text/plain", strings.NewReader(strings.Repeat("x", 1000*i)))
				if err != nil {
					t.Error(err)
					return
				}
				n, err := io.Copy(io.Discard, r.Body)
				if r.Body.Close(); n != int64(1000*i) || err != nil {
					t.Errorf("%d of %d bytes: %v", n, 1000*i, err)
				}
			}
		})
	}
	askers.Wait()
}
