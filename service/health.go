package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

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

// ServeHTTP answers /healthz and /livez as kube-proxy does on port 10256: 503 while rules could not be written.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	updated, failing := p.updated, p.failing
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if failing || updated.IsZero() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, `{"lastUpdated": %q,"currentTime": %q, "nodeEligible": %v}`, updated, time.Now(), true)
}
