package apiserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"clipper/apiserver/h2"
)

const (
	headerTimeout = 32 * time.Second
	idleTimeout   = 90 * time.Second
	closeTimeout  = 800 * time.Millisecond // for streams to end, once requests have been answered
	maxHeader     = 1 << 20
	streamWindow  = 256 << 10 // most bodies are smaller
	connWindow    = 16 << 20
	// maxStreams is what upstream allows; trustedStreams is what clients take for granted that hear of no limit.
	maxStreams, trustedStreams = 100, 1000
)

// Run serves until ctx ends, and records what it does.
func (s *Server) Run(ctx context.Context) error {
	if s.options.Tracing != nil {
		defer s.closeTracing(ctx)
	}
	if s.options.Audit == nil {
		return s.serve(ctx)
	}
	return s.options.Audit.While(func() error { return s.serve(ctx) })
}

func (s *Server) closeTracing(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := s.options.Tracing.Close(ctx); err != nil {
		s.log.Warn("spans are lost", "err", err)
	}
}

// serve serves until ctx ends. Then /readyz fails; after Limits.ShutdownDelay no more requests are taken,
// watches end, and requests that are being served are answered before it returns.
func (s *Server) serve(ctx context.Context) error {
	h := &http.Server{
		Handler:           s,
		TLSConfig:         s.options.TLS,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(s.complaints(), "", 0),
	}
	if s.options.TLS != nil {
		h.TLSConfig = s.options.TLS.Clone()
	}
	switch {
	case s.options.TLS == nil:
	case s.options.NoHTTP2:
		h.Protocols = new(http.Protocols)
		h.Protocols.SetHTTP1(true)
	default:
		o := h2.Options{MaxStreams: maxStreams, TrustedStreams: trustedStreams, IdleTimeout: idleTimeout, StreamWindow: streamWindow, ConnWindow: connWindow}
		if n := s.limits.MaxStreams; n > 0 {
			o.MaxStreams, o.TrustedStreams = uint32(n), 0 // #nosec G115 -- positive
		}
		if err := h2.Configure(h, o); err != nil {
			return err
		}
	}
	var g errgroup.Group
	for _, l := range s.options.Listeners {
		g.Go(func() error { return serveListener(h, l, s.options.TLS != nil) })
	}
	if l := s.options.DebugListener; l != nil {
		g.Go(func() error { return serveDebug(ctx, l) })
	}
	sweeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error {
		s.inflight.sweep(sweeping, s.limits.Request, func(q *request) { s.metrics.terminated(q, http.StatusGatewayTimeout) })
		return nil
	})
	g.Go(func() error {
		defer stop()
		return s.shutDown(ctx, h)
	})
	return g.Wait()
}

// complaints are what net/http says about clients that do something wrong.
func (s *Server) complaints() io.Writer { return complaints{s} }

type complaints struct{ s *Server }

func (c complaints) Write(text []byte) (int, error) {
	if bytes.Contains(text, []byte("TLS handshake error from")) {
		c.s.metrics.handshakes.Inc()
	}
	c.s.log.Debug("connection failed", "err", string(bytes.TrimSpace(text)))
	return len(text), nil
}

func serveListener(h *http.Server, l net.Listener, secure bool) error {
	var err error
	if secure {
		err = h.ServeTLS(h2.Listen(l), "", "")
	} else {
		err = h.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// shutDown waits for ctx to end, then ends the server step by step. Who is in a hurry kills the process:
// what was acknowledged is safe.
func (s *Server) shutDown(ctx context.Context, h *http.Server) error {
	<-ctx.Done()
	s.stopping.Store(true)
	time.Sleep(s.limits.ShutdownDelay)
	if s.limits.WatchGrace <= 0 {
		s.close()
	}
	if !s.limits.ShutdownRetryAfter { // without a listener, clients turn to another server at once
		for _, l := range s.options.Listeners {
			l.Close()
		}
	}
	late := context.WithoutCancel(ctx)
	answering, cancel := context.WithTimeout(late, s.limits.Request)
	defer cancel()
	var watches sync.WaitGroup
	watches.Go(func() { s.inflight.endWatches(s.limits.WatchGrace) })
	if err := s.inflight.drain(answering); err != nil {
		s.log.Warn("requests are cut off: they were not answered in time", "limit", s.limits.Request)
	}
	watches.Wait()
	s.close()
	closing, cancel := context.WithTimeout(late, closeTimeout)
	defer cancel()
	if err := h.Shutdown(closing); err != nil {
		return h.Close() // streams that did not end; clients retry
	}
	return nil
}
