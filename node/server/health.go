package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A check is one thing that health consists of.
type check struct {
	name string
	run  func() error
}

// health answers /healthz and counts what it has answered.
type health struct {
	checks []check
	status *prometheus.GaugeVec
	total  *prometheus.CounterVec
}

// newHealth returns a kubelet's checks: that it answers, that it can log, and that its loop does not stand still.
func newHealth(loop func() error) *health {
	fine := func() error { return nil }
	h := &health{
		checks: []check{{"ping", fine}, {"log", fine}, {"syncloop", loop}},
		status: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubernetes_healthcheck",
			Help: "[STABLE] This metric records the result of a single healthcheck."}, []string{"name", "type"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubernetes_healthchecks_total",
			Help: "[STABLE] This metric records the results of all healthcheck."}, []string{"name", "status", "type"}),
	}
	return h
}

// metrics serves what was counted, at /metrics/slis.
func (h *health) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(h.status, h.total)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

func (h *health) observe(name string, err error) {
	status, value := "success", 1.0
	if err != nil {
		status, value = "error", 0
	}
	h.status.WithLabelValues(name, "healthz").Set(value)
	h.total.WithLabelValues(name, status, "healthz").Inc()
}

// ServeHTTP runs all checks but those that the caller leaves out.
func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	excluded := r.URL.Query()["exclude"]
	var report strings.Builder
	failed := false
	for _, c := range h.checks {
		if slices.Contains(excluded, c.name) {
			fmt.Fprintf(&report, "[+]%s excluded: ok\n", c.name)
			continue
		}
		err := c.run()
		h.observe(c.name, err)
		if err != nil {
			failed = true
			fmt.Fprintf(&report, "[-]%s failed: reason withheld\n", c.name)
			continue
		}
		fmt.Fprintf(&report, "[+]%s ok\n", c.name)
	}
	if failed {
		http.Error(w, report.String()+"healthz check failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, verbose := r.URL.Query()["verbose"]; verbose {
		fmt.Fprint(w, report.String()+"healthz check passed\n")
		return
	}
	fmt.Fprint(w, "ok")
}

// installHealth adds the health check and its parts.
func (s *Server) installHealth(mux *http.ServeMux) {
	mux.Handle("/healthz", s.health)
	for _, c := range s.health.checks {
		mux.HandleFunc("/healthz/"+c.name, func(w http.ResponseWriter, _ *http.Request) {
			if err := c.run(); err != nil {
				http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, "ok")
		})
	}
}

// Health returns the health check alone: what a kubelet has on its healthz port.
func (s *Server) Health() http.Handler {
	mux := http.NewServeMux()
	s.installHealth(mux)
	return mux
}
