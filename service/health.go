package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/network/netns"
)

// A healthCheck is what an external load balancer asks this node about a service with
// externalTrafficPolicy Local: whether it has endpoints of it.
type healthCheck struct {
	Namespace, Name string
	Port            uint16
	Local           int
}

// A healthServer answers on the health check node ports.
type healthServer struct {
	netNS string
	log   *slog.Logger
	alive func() bool

	mu      sync.Mutex
	checks  map[uint16]healthCheck
	servers map[uint16]*http.Server
	wg      sync.WaitGroup
}

// set makes the server answer for exactly these checks.
func (h *healthServer) set(checks map[uint16]healthCheck) {
	h.mu.Lock()
	var closing []*http.Server
	var opening []uint16
	h.checks = checks
	for port, srv := range h.servers {
		if _, kept := checks[port]; !kept {
			closing = append(closing, srv)
			delete(h.servers, port)
		}
	}
	for port := range checks {
		if h.servers[port] == nil {
			opening = append(opening, port)
		}
	}
	h.mu.Unlock()
	for _, srv := range closing {
		srv.Close()
	}
	for _, port := range opening {
		if err := h.open(port); err != nil {
			h.log.Error("cannot answer health checks", "service", checks[port].Namespace+"/"+checks[port].Name, "port", port, "err", err)
		}
	}
}

func (h *healthServer) open(port uint16) error {
	var l net.Listener
	err := netns.Do(h.netNS, func() (err error) {
		l, err = net.Listen("tcp4", net.JoinHostPort("", strconv.Itoa(int(port))))
		return err
	})
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h.handler(port), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	h.mu.Lock()
	if h.servers == nil {
		h.servers = map[uint16]*http.Server{}
	}
	h.servers[port] = srv
	h.mu.Unlock()
	h.wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("health check port closed", "port", port, "err", err)
		}
	})
	return nil
}

// close ends all servers and waits for them.
func (h *healthServer) close() {
	h.set(nil)
	h.wg.Wait()
}

func (h *healthServer) handler(port uint16) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		c := h.checks[port]
		h.mu.Unlock()
		healthy := h.alive()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(c.Local))
		if c.Local == 0 || !healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		var body struct {
			Service struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			} `json:"service"`
			LocalEndpoints      int  `json:"localEndpoints"`
			ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
		}
		body.Service.Namespace, body.Service.Name = c.Namespace, c.Name
		body.LocalEndpoints, body.ServiceProxyHealthy = c.Local, healthy
		_ = json.NewEncoder(w).Encode(body) // the client went away: nothing to do
	})
}

// autoscalerTaint is on a node that the cluster autoscaler is about to remove.
const autoscalerTaint = "ToBeDeletedByClusterAutoscaler"

// eligible reports whether a load balancer should go on sending new connections to a node.
func eligible(n *corev1.Node) bool {
	return n.DeletionTimestamp == nil && !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == autoscalerTaint })
}

// ServeHTTP answers as kube-proxy does on port 10256, for load balancers with externalTrafficPolicy Cluster:
// /healthz is 503 while rules cannot be written or the node is about to go, /livez for the former only.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	updated, failing, eligible := p.updated, p.failing, !p.leaving
	p.mu.Unlock()
	if r.URL.Path != "/healthz" && r.URL.Path != "/livez" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if failing || updated.IsZero() || r.URL.Path == "/healthz" && !eligible {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, `{"lastUpdated": %q,"currentTime": %q, "nodeEligible": %v}`, updated.String(), time.Now().String(), eligible)
}

// serveHealth answers on the health port until ctx ends. That port is not worth a node: if it is taken, by a
// kube-proxy perhaps, the log says so and services work without it.
func (p *Proxy) serveHealth(ctx context.Context) error {
	if p.cfg.HealthPort == 0 {
		return nil
	}
	var l net.Listener
	err := netns.Do(p.cfg.NetNS, func() (err error) {
		l, err = net.Listen("tcp4", net.JoinHostPort("", strconv.Itoa(int(p.cfg.HealthPort))))
		return err
	})
	if err != nil {
		p.cfg.Log.Warn("load balancers cannot ask whether this node is healthy", "port", p.cfg.HealthPort, "err", err)
		return nil
	}
	srv := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("health port %d: %w", p.cfg.HealthPort, err)
	}
	return ctx.Err()
}
