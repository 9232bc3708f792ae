// Package apiserver serves the Kubernetes API over HTTPS: it finds out who asks and whether they may,
// reads bodies, hands requests to the pipeline (package pipeline) and writes answers and watch streams.
// What is served comes from the catalogue; nothing here knows a kind by name unless upstream treats it
// as a special case.
//
// ServeHTTP takes a request through: parse the path, authenticate, impersonate, wait for a seat (package
// fairness), authorize, route.
package apiserver

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/apiserver/aggregation"
	"clipper/apiserver/audit"
	"clipper/apiserver/exposition"
	"clipper/apiserver/fairness"
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
