// Package h2 is the server's side of HTTP/2 connections (RFC 9113) that carry many requests and many streams that last.
//
// Frames and header compression are golang.org/x/net's: its Framer checks what comes in, its HPACK packs what goes out.
// What is made here is who writes, and when. In the server of that package every frame has its way through three
// goroutines and ends in a write of its own, which costs more than most requests of an API server, and several times what
// the events cost that a watcher is sent. Here
//
//   - one goroutine reads, and deals with a frame where it has read it;
//   - whoever has something to send adds it to the connection's queue, and if nobody writes already, writes all that is
//     there: the answers and events of many streams are one write (queue.go);
//   - while much is sent to watches, their client's small frames, which let more be sent, are read a few at a time (wire.go);
//   - handlers run on goroutines that stay for the next request (workers.go);
//   - what a client's requests hold is bounded, those included that it has opened and reset (load.go);
//   - nobody waits for a slow client but those who have something to send to it: what the socket does not take at once is
//     written by a goroutine that lasts until it has (wire.go).
//
// There is no server push, no priorities (RFC 9113, section 5.3.2) and no extended CONNECT: clients are told so, or do
// without by default.
package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// Options are what clients are told, and how long they are waited for.
type Options struct {
	MaxStreams     uint32        // concurrent requests of a connection
	TrustedStreams uint32        // the same once the client is known (Connection.Trust); 0: no more than before
	IdleTimeout    time.Duration // a connection without requests is closed after it
	StreamWindow   int32         // bytes of a request's body that a client may send ahead of its reader
	ConnWindow     int32         // the same of all requests of a connection
}

const (
	// frameSize is the largest frame that clients may send: larger ones would only be held for longer.
	frameSize = 64 << 10
	// tableSize is of the headers that are remembered, for either side: RFC 7541's default.
	tableSize = 4096
	// helloTimeout is for a client's preface and settings.
	helloTimeout = 10 * time.Second
	// lingerTimeout is how long a connection that ends is still read from. Closed at once, unread bytes would
	// have the kernel reset it, and the client would never see why (RFC 9113, section 5.4.1).
	lingerTimeout = time.Second
	// discardLimit is how much of that is read: what a client may have sent before it learns of its fault.
	discardLimit = 1 << 20
)

// A server is what connections of one http.Server share.
type server struct {
	hs      *http.Server
	options Options
	workers workers

	mu      sync.Mutex
	conns   map[*conn]struct{}
	closing bool
}

// Configure has hs serve HTTP/2. Its listeners must come from Listen. ReadTimeout and WriteTimeout of hs are not heeded:
// deadlines are each request's own (http.ResponseController).
func Configure(hs *http.Server, o Options) error {
	if hs.TLSConfig == nil {
		hs.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if err := checkSuites(hs.TLSConfig); err != nil {
		return err
	}
	for _, proto := range []string{http2.NextProtoTLS, "http/1.1"} {
		if !slices.Contains(hs.TLSConfig.NextProtos, proto) {
			hs.TLSConfig.NextProtos = append(hs.TLSConfig.NextProtos, proto)
		}
	}
	hs.TLSConfig.DynamicRecordSizingDisabled = true // small records are for clients that draw a page meanwhile
	s := &server{hs: hs, options: o, conns: map[*conn]struct{}{}}
	hs.RegisterOnShutdown(s.shutDown)
	if hs.TLSNextProto == nil {
		hs.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	hs.TLSNextProto[http2.NextProtoTLS] = func(_ *http.Server, c *tls.Conn, h http.Handler) { s.serve(c, h) }
	return nil
}

// checkSuites makes sure that there is a cipher suite for HTTP/2 (RFC 9113, section 9.2.2).
func checkSuites(c *tls.Config) error {
	if c.CipherSuites == nil || c.MinVersion >= tls.VersionTLS13 || slices.ContainsFunc(c.CipherSuites, goodSuite) {
		return nil
	}
	return errors.New("no TLS cipher suite is left that HTTP/2 may use: add TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
}

// goodSuite says whether RFC 9113, appendix A, leaves a suite to HTTP/2: only those with ephemeral keys and
// authenticated encryption.
func goodSuite(suite uint16) bool {
	switch suite {
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256:
		return true
	}
	return false
}

// serve serves one connection until it ends.
func (s *server) serve(t *tls.Conn, h http.Handler) {
	w, ok := t.NetConn().(*wire)
	if !ok {
		s.logf("http2: the listener of %v is not one of h2.Listen", t.LocalAddr())
		return
	}
	base := context.Background()
	if based, ok := h.(interface{ BaseContext() context.Context }); ok { // so net/http hands it down
		base = based.BaseContext()
	}
	ctx, cancel := context.WithCancel(base)
	defer cancel()
	c := newConn(s, t, w, t.ConnectionState())
	c.ctx, c.handler = ctx, h
	if !s.enter(c) {
		return
	}
	defer s.leave(c)
	c.serve()
}

func (s *server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.conns[c] = struct{}{}
	}
	return !s.closing
}

func (s *server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// shutDown asks all clients to leave when their requests have been answered.
func (s *server) shutDown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for c := range s.conns {
		c.goAway(http2.ErrCodeNo)
	}
}

func (s *server) logf(format string, args ...any) {
	if s.hs.ErrorLog != nil {
		s.hs.ErrorLog.Printf(format, args...)
		return
	}
	log.Printf(format, args...)
}

// Listen returns l for an http.Server that Configure has seen.
func Listen(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newWire(c), nil
}
