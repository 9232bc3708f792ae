package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A check is one part of the server's health.
type check struct {
	name string
	run  func(context.Context) error
}

// A Hook is a part that is started with the server. Tools ask for some of them by name.
type Hook struct {
	Name    string                      // as upstream calls its check
	Started func(context.Context) error // nil: it has been as soon as the server is ready
}

var healthRoots = []string{"healthz", "livez", "readyz"}

func isHealth(path string) bool {
	root := healthRoot(path)
	return root != "" && (len(path) == len(root)+1 || path[len(root)+1] == '/')
}

// healthRoot is which of the three the path is below, "" for none.
func healthRoot(path string) string {
	for _, root := range healthRoots {
		if rest, ok := strings.CutPrefix(path, "/"); ok && strings.HasPrefix(rest, root) {
			return root
		}
	}
	return ""
}

func fine(context.Context) error { return nil }

// checks lists the parts of one of the roots, in the order they are reported.
func (s *Server) checks(root string) []check {
	out := []check{{"ping", fine}, {"log", fine}}
	add := func(more map[string]func(context.Context) error) {
		for name, run := range more {
			out = append(out, check{name, run})
		}
	}
	add(s.options.Checks)
	if root != "livez" {
		add(s.options.OutsideChecks)
	}
	if root == "readyz" {
		add(s.options.ReadyChecks)
		out = append(out, check{"informer-sync", s.started})
	}
	sort.SliceStable(out[2:], func(i, j int) bool { return out[2+i].name < out[2+j].name })
	for _, h := range s.options.Hooks {
		run := h.Started
		if run == nil {
			run = s.started
		}
		if root == "livez" {
			run = s.inTime(run)
		}
		out = append(out, check{h.Name, run})
	}
	if root == "readyz" {
		out = append(out, check{"shutdown", s.notStopping})
	}
	return out
}

func (s *Server) started(context.Context) error {
	if !s.ready.Load() {
		return errors.New("not everything has been started")
	}
	return nil
}

// inTime passes a part that is not ready until there has been time enough for it.
func (s *Server) inTime(run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if time.Since(s.made) < s.limits.LivezGrace {
			return nil
		}
		return run(ctx)
	}
}

func (s *Server) notStopping(context.Context) error {
	if s.stopping.Load() {
		return errors.New("process is shutting down")
	}
	return nil
}

// health answers /healthz, /livez and /readyz, whole or one part.
func (q *request) health() {
	root, part, single := strings.Cut(strings.TrimPrefix(q.info.Path, "/"), "/")
	checks := q.s.checks(root)
	if !single {
		q.healthOf(root, checks)
		return
	}
	at := slices.IndexFunc(checks, func(c check) bool { return c.name == part })
	if at < 0 {
		q.notFound()
		return
	}
	if err := q.s.runCheck(q.r.Context(), root, checks[at]); err != nil {
		q.writeText(http.StatusInternalServerError, fmt.Sprintf("internal server error: %v\n", err))
		return
	}
	q.writeSniffed(http.StatusOK, "ok")
}

// healthOf runs all checks but the excluded ones. What is wrong stays in the log: strangers may ask.
func (q *request) healthOf(root string, checks []check) {
	var report strings.Builder
	excluded, failed := slices.Compact(slices.Sorted(slices.Values(q.query()["exclude"]))), false
	unmatched := slices.Clone(excluded)
	for _, c := range checks {
		if slices.Contains(excluded, c.name) {
			unmatched = slices.DeleteFunc(unmatched, func(name string) bool { return name == c.name })
			fmt.Fprintf(&report, "[+]%s excluded: ok\n", c.name)
			continue
		}
		if group := checkGroup(c.name); group != "" && slices.Contains(excluded, group) {
			unmatched = slices.DeleteFunc(unmatched, func(name string) bool { return name == group })
			fmt.Fprintf(&report, "[+]%s excluded with %s: ok\n", c.name, group)
			continue
		}
		if err := q.s.runCheck(q.r.Context(), root, c); err != nil {
			failed = true
			fmt.Fprintf(&report, "[-]%s failed: reason withheld\n", c.name)
			continue
		}
		fmt.Fprintf(&report, "[+]%s ok\n", c.name)
	}
	if len(unmatched) > 0 {
		fmt.Fprintf(&report, "warn: some health checks cannot be excluded: no matches for %s\n", quoted(unmatched))
	}
	_, verbose := q.query()["verbose"]
	switch {
	case failed:
		q.writeText(http.StatusInternalServerError, fmt.Sprintf("%s%s check failed\n", report.String(), root))
	case verbose:
		q.writeText(http.StatusOK, fmt.Sprintf("%s%s check passed\n", report.String(), root))
	default:
		q.writeText(http.StatusOK, "ok")
	}
}

// checkGroup is what excludes a check together with others: those of etcds that keep some resources go with etcd's.
func checkGroup(name string) string {
	const own = "etcd-override-"
	rest, ok := strings.CutPrefix(name, own)
	switch {
	case !ok:
		return ""
	case strings.HasPrefix(rest, "readiness-"):
		return "etcd-readiness"
	}
	return "etcd"
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(out, ",")
}

func (s *Server) runCheck(ctx context.Context, root string, c check) error {
	err := c.run(ctx)
	s.metrics.health.observe(root, c.name, err)
	if err != nil {
		s.log.Warn("health check failed", "check", c.name, "of", root, "err", err)
	}
	return err
}

func (q *request) writeText(code int, text string) {
	q.w.Header().Set("X-Content-Type-Options", "nosniff")
	q.writeSniffed(code, text)
}

// writeSniffed is writeText where upstream leaves it to the library to find out that it is text.
func (q *request) writeSniffed(code int, text string) {
	q.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	q.writeHeader(code)
	_, _ = q.w.Write([]byte(text))
}

// healthMetrics are what /metrics/slis shows.
type healthMetrics struct {
	registry *prometheus.Registry
	now      *prometheus.GaugeVec
	total    *prometheus.CounterVec
}

func newHealthMetrics() healthMetrics {
	m := healthMetrics{
		registry: prometheus.NewRegistry(),
		now:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubernetes_healthcheck", Help: "This metric records the result of a single healthcheck."}, []string{"name", "type"}),
		total:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubernetes_healthchecks_total", Help: "This metric records the results of all healthcheck."}, []string{"name", "status", "type"}),
	}
	m.registry.MustRegister(m.now, m.total)
	return m
}

func (m *healthMetrics) observe(root, name string, err error) {
	value, status := 1.0, "success"
	if err != nil {
		value, status = 0, "error"
	}
	m.now.WithLabelValues(name, root).Set(value)
	m.total.WithLabelValues(name, status, root).Inc()
}

func (m *healthMetrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
