package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net/http"
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
