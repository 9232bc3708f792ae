package apiserver

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// identityMetrics say how authentication and authorization went.
type identityMetrics struct {
	authenticated               *prometheus.CounterVec
	attempts, decisions         *prometheus.CounterVec
	authenticating, authorizing *prometheus.HistogramVec

	success, failure outcome
	allowed, denied  outcome
}

// An outcome is the series of one result.
type outcome struct {
	count prometheus.Counter
	took  prometheus.Observer
}

func (o outcome) observe(took time.Duration) {
	o.count.Inc()
	o.took.Observe(took.Seconds())
}

func newIdentityMetrics() identityMetrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, []string{"result"})
	}
	m := identityMetrics{
		authenticated:  counter("authenticated_user_requests", "Counter of authenticated requests broken out by username.", "username"),
		attempts:       counter("authentication_attempts", "Counter of authenticated attempts.", "result"),
		decisions:      counter("authorization_attempts_total", "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.", "result"),
		authenticating: histogram("authentication_duration_seconds", "Authentication duration in seconds broken out by result."),
		authorizing:    histogram("authorization_duration_seconds", "Authorization duration in seconds broken out by result."),
	}
	m.success = outcome{m.attempts.WithLabelValues("success"), m.authenticating.WithLabelValues("success")}
	m.failure = outcome{m.attempts.WithLabelValues("failure"), m.authenticating.WithLabelValues("failure")}
	m.allowed = outcome{m.decisions.WithLabelValues("allowed"), m.authorizing.WithLabelValues("allowed")}
	m.denied = outcome{m.decisions.WithLabelValues("no-opinion"), m.authorizing.WithLabelValues("no-opinion")}
	return m
}

func (m *identityMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.authenticated, m.attempts, m.decisions, m.authenticating, m.authorizing}
}

func (m *identityMetrics) authentication(name string, err error, took time.Duration) {
	if err != nil {
		m.failure.observe(took)
		return
	}
	m.success.observe(took)
	m.authenticated.WithLabelValues(compressName(name)).Inc()
}

func (m *identityMetrics) authorization(err error, took time.Duration) {
	if err != nil {
		m.denied.observe(took)
		return
	}
	m.allowed.observe(took)
}

// compressName keeps the number of series small. Upstream's rules.
func compressName(name string) string {
	switch name {
	case "admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default":
		return name
	}
	if strings.Contains(name, "@") {
		return "email_id"
	}
	return "other"
}
