// Package apiserver serves the Kubernetes API over HTTPS: it finds out who asks and whether they may,
// reads bodies, hands requests to the pipeline (package pipeline) and writes answers and watch streams.
// What is served comes from the catalogue; nothing here knows a kind by name unless upstream treats it
// as a special case.
//
// ServeHTTP takes a request through: parse the path, authenticate, impersonate, wait for a seat (package
// fairness), authorize, route.
package apiserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/apiserver/aggregation"
	"clipper/apiserver/audit"
	"clipper/apiserver/exposition"
	"clipper/apiserver/fairness"
	"clipper/apiserver/h2"
	"clipper/apiserver/impersonation"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/resolve"
	"clipper/apiserver/tracing"
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
	// Collectors are shown at /metrics beside the server's own.
	Collectors []prometheus.Collector
	// Extra answers paths outside the API that the server does not know, by exact path.
	Extra map[string]http.Handler
	// Checks are parts of /healthz, /livez and /readyz beside the server's own, by name; ReadyChecks are
	// of /readyz alone, and OutsideChecks of all but /livez: of what no restart of the server mends. They must be quick.
	Checks, ReadyChecks, OutsideChecks map[string]func(context.Context) error
	// Hooks are the parts that are started with the server, as all three report them, in this order.
	Hooks []Hook

	Limits   Limits
	Audit    *audit.Auditor       // nil: nothing is recorded
	Tracing  *tracing.Tracer      // nil: no spans; closed by Run
	Fairness *fairness.Controller // nil: InFlight
	InFlight *fairness.Limit      // nil, too: no limit
	Features Features
	Browsers Browsers
	// Metrics says what /metrics shows of what is counted.
	Metrics exposition.View
	// HideCounts leaves the numbers of stored objects out of the metrics.
	HideCounts bool
	// NoHTTP2 offers clients HTTP/1.1 alone.
	NoHTTP2 bool
	// Profiling serves /debug/pprof and /debug/flags.
	Profiling bool
	// DebugListener shows them, too, to everybody who can connect to it. Nil: there is none. Closed by Run.
	DebugListener net.Listener
	// Flags are what /flagz shows. Nil: 404.
	Flags func() map[string]string

	// NodeTLS is what the server shows to node agents: its client certificate and their CA.
	NodeTLS *tls.Config
	// NodeAddresses are the kinds of addresses at which node agents are spoken to.
	NodeAddresses resolve.Preference
	// NodeTimeout is how long it may take to connect to a node agent; 0: ten seconds.
	NodeTimeout time.Duration
	// DialNode connects to a node, pod or service address; nil is an ordinary dial.
	DialNode func(ctx context.Context, network, address string) (net.Conn, error)

	Log *slog.Logger // nil: slog.Default
}

// Features are those whose feature gates were moved from their defaults.
type Features struct {
	CBOR        bool // CBORServingAndStorage is on: CBOR is taken and given, too
	Plain       bool // APIResponseCompression is off: large answers go out as they are
	NoWatchList bool // WatchList is off: watches do not begin with what there is
}

// A Server serves the API. It is an http.Handler, too.
type Server struct {
	pipeline *pipeline.Pipeline
	authn    authenticator.Request
	authz    authorizer.Authorizer
	judge    *impersonation.Judge
	options  Options
	log      *slog.Logger
	limits   Limits
	metrics  *metrics
	discover discoveryCache
	nodes    nodeProxy
	inflight inflight
	carriers *carriers
	lanes    lanes
	pages    pages
	scrape   func() http.Handler

	made     time.Time
	ready    atomic.Bool     // everything has been started
	stopping atomic.Bool     // the process has been asked to end
	closing  context.Context // ends when the server shuts down: watches and streams stop
	close    context.CancelFunc
}

// New returns a server that serves nothing yet.
func New(o Options) *Server {
	s := &Server{pipeline: o.Pipeline, authn: o.Authn, authz: o.Authz, options: o, log: o.Log, made: time.Now()}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.limits = o.Limits
	s.limits.complete()
	s.carriers = newCarriers(o.Pipeline)
	s.lanes = newLanes()
	s.judge = impersonation.NewJudge(o.Authz, forbidden)
	s.metrics = newMetrics()
	s.scrape = sync.OnceValue(s.metricsHandler)
	s.nodes = newNodeProxy(o)
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// SetReady makes /readyz answer 200 once everything else has been started.
func (s *Server) SetReady(ready bool) { s.ready.Store(ready) }

const (
	headerTimeout = 32 * time.Second
	idleTimeout   = 90 * time.Second
	closeTimeout  = 800 * time.Millisecond // for streams to end, once requests have been answered
	maxHeader     = 1 << 20
	streamWindow  = 256 << 10 // most bodies are smaller
	connWindow    = 16 << 20
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
		o := h2.Options{MaxStreams: uint32(s.limits.MaxStreams), IdleTimeout: idleTimeout, StreamWindow: streamWindow, ConnWindow: connWindow} // #nosec G115 -- not negative
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

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	growStack(0)
	if s.options.Browsers.headers(w, r) {
		return
	}
	q := &request{s: s, w: w, r: r, info: parseInfo(r), start: time.Now()}
	q.long = isLongRunning(&q.info)
	q.identify()
	q.goAway()
	if !s.inflight.enter(q) {
		q.refuseLate()
		return
	}
	defer q.done()
	defer func() {
		if cause := recover(); cause != nil {
			if cause == http.ErrAbortHandler {
				s.metrics.aborted(q)
				panic(cause)
			}
			q.recovered(cause, debug.Stack())
		}
	}()
	cancel, err := q.timeLimit()
	if cancel != nil {
		defer cancel()
	}
	if err == nil {
		err = q.identifyUser()
	}
	if err != nil {
		q.fail(err)
		return
	}
	if !q.admit() {
		return
	}
	if err := q.mayProceed(); err != nil {
		q.fail(err)
		return
	}
	q.routed = true
	q.route()
}

// done is the last that is heard of a request.
func (q *request) done() {
	now := time.Now()
	q.leaveLane()
	q.release()
	q.endAudit(now)
	if q.endSpan != nil {
		q.endSpan(q.code)
	}
	q.s.inflight.leave(q, now)
	q.s.metrics.observe(q, now)
}

// identifyUser finds out who asks, and in whose name.
func (q *request) identifyUser() error {
	err := q.authenticate()
	if err != nil {
		q.s.metrics.identity.authentication("", err, time.Since(q.start))
		q.refused()
		return err
	}
	q.s.metrics.identity.authentication(q.user.GetName(), nil, time.Since(q.start))
	q.startSpan()
	if err := q.received(); err != nil {
		return err
	}
	self := q.user
	if err = q.impersonate(); err == nil && q.user != self && q.record != nil {
		q.record.LogImpersonatedUser(q.user, q.constraint)
	}
	return err
}

// startSpan begins the request's part of a trace.
func (q *request) startSpan() {
	if q.s.options.Tracing == nil {
		return
	}
	var ctx context.Context
	ctx, q.endSpan = q.s.options.Tracing.Start(q.r, q.spanName(), q.user, q.auditID, q.start)
	q.r = q.r.WithContext(ctx)
}

// spanName is the request's path without what differs from object to object.
func (q *request) spanName() string {
	in := &q.info
	if !in.IsResource {
		return q.r.Method
	}
	parts := []string{q.r.Method + " ", in.Prefix}
	if in.Group != "" {
		parts = append(parts, in.Group)
	}
	parts = append(parts, in.Version)
	if in.Namespace != "" {
		parts = append(parts, "namespaces/{:namespace}")
	}
	parts = append(parts, in.Resource)
	if in.Name != "" {
		parts = append(parts, "{:name}")
	}
	if in.Subresource != "" {
		parts = append(parts, in.Subresource)
	}
	return strings.Join(parts, "/")
}

func (q *request) mayProceed() error {
	start := time.Now()
	reason, err := q.s.decide(q.r.Context(), q.attributes())
	q.s.metrics.identity.authorization(err, time.Since(start))
	q.decided(reason, err)
	return err
}

// refuseLate turns away a request that comes when the server is closing.
func (q *request) refuseLate() {
	q.w.Header().Set("Connection", "close")
	if q.s.limits.ShutdownRetryAfter {
		q.refuse(http.StatusTooManyRequests, 5, "The apiserver is shutting down, please try again later.")
		return
	}
	q.w.Header().Set("Retry-After", "1")
	q.fail(apierrors.NewServiceUnavailable("apiserver is shutting down"))
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
	switch {
	case q.kind == nil:
		q.notFound()
	case q.info.Group == "" && q.info.Resource == "componentstatuses" && q.info.Subresource == "":
		q.componentStatuses()
	default:
		q.serveResource()
	}
}
