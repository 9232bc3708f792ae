// Package apiserver serves the Kubernetes API over HTTPS: it finds out who asks and whether they may,
// reads bodies, hands requests to the pipeline (package pipeline) and writes answers and watch streams.
// What is served comes from the catalogue; nothing here knows a kind by name unless upstream treats it
// as a special case.
//
// ServeHTTP takes a request through: parse the path, authenticate, impersonate, authorize, route.
package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/apiserver/aggregation"
	"clipper/apiserver/pipeline"
)

// Options are what a Server is made of. Pipeline, Authn, Authz and Listeners are required.
type Options struct {
	Pipeline *pipeline.Pipeline
	Authn    authenticator.Request
	Authz    authorizer.Authorizer

	TLS       *tls.Config    // nil serves plain HTTP, for tests
	Listeners []net.Listener // closed by Run

	Version version.Info
	// OpenAPI answers /openapi/v2 and everything below /openapi/v3. Nil: 404.
	OpenAPI http.Handler
	// Extensions are the group versions that other servers answer for. Nil: there are none.
	Extensions func() *aggregation.Directory
	// Address is the host and port that /api tells clients to use. "": the one they used.
	Address string
	// Metrics answers /metrics behind the server's own. Nil: only the server's own are there.
	Metrics []http.Handler
	// Extra answers paths outside the API that the server does not know, by exact path.
	Extra map[string]http.Handler
	// Checks are parts of /readyz and /livez beside the server's own, by name. They must be quick.
	Checks map[string]func(context.Context) error
	// NodeTLS is what the server shows to node agents: its client certificate and their CA.
	NodeTLS *tls.Config
	// DialNode connects to a node, pod or service address; nil is an ordinary dial.
	DialNode func(ctx context.Context, network, address string) (net.Conn, error)

	Log *slog.Logger // nil: slog.Default
}

// A Server serves the API. It is an http.Handler, too.
type Server struct {
	pipeline *pipeline.Pipeline
	authn    authenticator.Request
	authz    authorizer.Authorizer
	options  Options
	log      *slog.Logger
	metrics  *metrics
	discover discoveryCache
	nodes    nodeProxy

	ready   atomic.Bool
	closing context.Context // ends when the server shuts down: watches and streams stop
	close   context.CancelFunc
}

// New returns a server that serves nothing yet.
func New(o Options) *Server {
	s := &Server{pipeline: o.Pipeline, authn: o.Authn, authz: o.Authz, options: o, log: o.Log}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.metrics = newMetrics()
	s.nodes = newNodeProxy(o)
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// SetReady makes /readyz answer 200 once everything else has been started.
func (s *Server) SetReady(ready bool) { s.ready.Store(ready) }

const (
	headerTimeout   = 32 * time.Second
	idleTimeout     = 90 * time.Second
	shutdownTimeout = 800 * time.Millisecond
	maxHeader       = 1 << 20
	maxStreams      = 1000 // concurrent HTTP/2 requests per connection
)

// Run serves until ctx ends, then lets requests finish for a moment. Watches are ended at once.
func (s *Server) Run(ctx context.Context) error {
	h := &http.Server{
		Handler:           s,
		TLSConfig:         s.options.TLS,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // what clients do wrong
	}
	if s.options.TLS != nil {
		h.TLSConfig = s.options.TLS.Clone()
		h2 := &http2.Server{MaxConcurrentStreams: maxStreams, IdleTimeout: idleTimeout, MaxUploadBufferPerStream: 256 << 10, MaxUploadBufferPerConnection: 16 << 20}
		if err := http2.ConfigureServer(h, h2); err != nil {
			return err
		}
	}
	var g errgroup.Group
	for _, l := range s.options.Listeners {
		g.Go(func() error { return serveListener(h, l, s.options.TLS != nil) })
	}
	g.Go(func() error { return s.shutDown(ctx, h) })
	return g.Wait()
}

func serveListener(h *http.Server, l net.Listener, secure bool) error {
	var err error
	if secure {
		err = h.ServeTLS(l, "", "")
	} else {
		err = h.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *Server) shutDown(ctx context.Context, h *http.Server) error {
	<-ctx.Done()
	s.ready.Store(false)
	s.close()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := h.Shutdown(grace); err != nil {
		return h.Close() // requests that still run are cut off; clients retry
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	q := &request{s: s, w: w, r: r, info: parseInfo(r)}
	defer s.metrics.observe(q, start)
	defer func() {
		if cause := recover(); cause != nil {
			if cause == http.ErrAbortHandler {
				panic(cause)
			}
			q.recovered(cause, debug.Stack())
		}
	}()
	q.audit()
	if err := q.authenticate(); err != nil {
		q.fail(err)
		return
	}
	if err := s.authorize(r.Context(), q.attributes()); err != nil {
		q.fail(err)
		return
	}
	q.route()
}

// route finds what the path is about.
func (q *request) route() {
	if e := q.extension(); e != nil {
		q.passOn(e)
		return
	}
	if !q.info.IsResource {
		q.serveOther()
		return
	}
	q.kind = q.s.pipeline.Table().Lookup(q.info.Group, q.info.Version, q.info.Resource)
	if q.kind == nil {
		q.notFound()
		return
	}
	q.serveResource()
}
