// Package server is the node agent's own HTTPS API: the kubelet's. The API server calls it for logs, exec,
// attach and port-forward; metrics collectors call it for what pods use. Paths, parameters and messages are
// those of a v1.36 kubelet. Every request is authorized, health checks included; the health check that needs
// no authorization listens on an address of its own, as does the read-only port of those who ask for one.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api/containers"
	"clipper/node/kubeletconfig"
	"clipper/node/runtime"
	"clipper/node/stats"
)

// A Pod is what the server needs of a pod of this node.
type Pod interface {
	stats.Pod
	// Sandbox is the ID of the pod's sandbox, "" while none runs.
	Sandbox() string
}

// Config is what the server serves. All fields are required, but those with a default.
type Config struct {
	NodeName string
	Settings *kubeletconfig.Configuration
	Pods     func() []Pod
	Runtime  runtime.Runtime
	Stats    *stats.Collector
	Machine  stats.Machine
	// Authorizer decides about requests to the HTTPS server.
	Authorizer  Authorizer
	ServingCert func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Collectors are the metrics of the node's other parts, for /metrics; Probes those for /metrics/probes.
	Collectors, Probes []prometheus.Collector
	// Healthy says why the node's own loop stands still, if it does. Default: it never does.
	Healthy func() error
	// Flags returns the flags that the process was started with, for /flagz. Default: none are shown.
	Flags func() map[string]string
	// SystemLogs is the directory that /logs shows. Default: /var/log.
	SystemLogs string
}

// An Authorizer decides about a request: nil, or an error that StatusOf knows. verb and subresources are those of
// the node in the API that a caller needs one of.
type Authorizer interface {
	Authorize(r *http.Request, verb string, subresources []string) error
}

// A Server serves one node.
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	metrics *metrics
	health  *health
	pages   pages
}

// New returns the server. It listens nowhere yet.
func New(cfg Config) *Server {
	if cfg.Healthy == nil {
		cfg.Healthy = func() error { return nil }
	}
	if cfg.Flags == nil {
		cfg.Flags = func() map[string]string { return map[string]string{} }
	}
	if cfg.SystemLogs == "" {
		cfg.SystemLogs = "/var/log"
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), metrics: newMetrics()}
	s.health = newHealth(cfg.Healthy)
	s.installReading(s.mux)
	if *cfg.Settings.EnableDebuggingHandlers {
		s.installDebugging(s.mux)
	} else {
		s.refuseDebugging(s.mux)
	}
	return s
}

// ServeHTTP authorizes the request and answers it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.metrics.observe(r, "readwrite")()
	if err := s.cfg.Authorizer.Authorize(r, verb(r), subresources(r.URL.Path)); err != nil {
		code := StatusOf(err)
		if code == http.StatusInternalServerError {
			slog.Warn("Authorizing a request to the node failed", "path", r.URL.Path, "err", err)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		fmt.Fprint(w, err.Error())
		return
	}
	s.mux.ServeHTTP(w, r)
}

// ReadOnly returns the part of the server that reads nodes' state and needs no authorization: what a kubelet has
// on its read-only port.
func (s *Server) ReadOnly() http.Handler {
	mux := http.NewServeMux()
	s.installReading(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.metrics.observe(r, "readonly")()
		mux.ServeHTTP(w, r)
	})
}

// Limits of requests. Upstream's figures, but for the first: who sends headers slower than that does not mean it.
const (
	headerTimeout  = 30 * time.Second
	idleTimeout    = 90 * time.Second
	longestRequest = 4 * time.Hour
	maxHeader      = 1 << 20
)

func (s *Server) httpServer(ctx context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ReadTimeout: longestRequest, WriteTimeout: longestRequest,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
}

// Serve answers requests on l until ctx ends. Streams are cut then.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := s.httpServer(ctx, s)
	h.TLSConfig = &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: s.cfg.ServingCert,
		ClientAuth: tls.RequestClientCert, // who shows a strange one gets an answer that says so
		NextProtos: []string{"h2", "http/1.1"},
	}
	return run(ctx, h, func() error { return h.ServeTLS(l, "", "") })
}

// ServePlain answers requests to h on l until ctx ends, without TLS.
func (s *Server) ServePlain(ctx context.Context, l net.Listener, h http.Handler) error {
	server := s.httpServer(ctx, h)
	return run(ctx, server, func() error { return server.Serve(l) })
}

func run(ctx context.Context, h *http.Server, serve func() error) error {
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the node's API: %w", err)
	}
	return ctx.Err()
}

// find returns the pod that a path names, or answers 404.
func (s *Server) find(w http.ResponseWriter, r *http.Request) (Pod, *corev1.Pod, bool) {
	ns, name := r.PathValue("ns"), r.PathValue("pod")
	for _, p := range s.cfg.Pods() {
		if obj, _ := p.Status(); obj.Namespace == ns && obj.Name == name {
			return p, obj, true
		}
	}
	http.Error(w, "pod does not exist", http.StatusNotFound)
	return nil, nil, false
}

// running returns the ID of a running container, or answers why there is none.
func (s *Server) running(w http.ResponseWriter, r *http.Request) (id string, spec *corev1.Container, ok bool) {
	p, obj, ok := s.find(w, r)
	if !ok {
		return "", nil, false
	}
	name, uid := r.PathValue("container"), types.UID(r.PathValue("uid"))
	cur, _ := p.Container(name)
	if cur == nil || cur.State != runtime.Running || uid != "" && uid != obj.UID {
		http.Error(w, fmt.Sprintf("container not found (%q)", name), http.StatusInternalServerError)
		return "", nil, false
	}
	return cur.ID, containers.Named(&obj.Spec, name), true
}
