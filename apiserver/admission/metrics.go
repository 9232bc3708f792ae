package admission

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The two phases, as upstream's metrics call them.
const (
	mutating   = "admit"
	validating = "validate"
)

// metrics tell how long plug-ins take. Upstream's own of the same names look every label up for every
// plug-in of every write; here a series is found once.
type metrics struct {
	plugins *prometheus.HistogramVec
	steps   *prometheus.HistogramVec
	summary *prometheus.SummaryVec

	mutating, validating series // of the phases as a whole
}

// A series is what is observed of one plug-in, or of one phase: by operation and whether it refused.
type series struct {
	observers [4][2]atomic.Pointer[prometheus.Observer]
}

func newMetrics() *metrics {
	buckets := []float64{0.005, 0.025, 0.1, 0.5, 1.0, 2.5}
	return &metrics{
		plugins: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "apiserver_admission_controller_admission_duration_seconds",
			Help:    "[STABLE] Admission controller latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).",
			Buckets: buckets,
		}, []string{"name", "type", "operation", "rejected"}),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "apiserver_admission_step_admission_duration_seconds",
			Help:    "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).",
			Buckets: buckets,
		}, []string{"type", "operation", "rejected"}),
		summary: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name:   "apiserver_admission_step_admission_duration_seconds_summary",
			Help:   "[ALPHA] Admission sub-step latency summary in seconds, broken out for each operation and API resource and step type (validate or admit).",
			MaxAge: 5 * time.Hour,
		}, []string{"type", "operation", "rejected"}),
	}
}

// observe notes what took how long; find gets the observer when the first of its sort appears.
func (s *series) observe(op Operation, took time.Duration, err error, find func(rejected string) prometheus.Observer) {
	rejected := 0
	if err != nil {
		rejected = 1
	}
	slot := &s.observers[op.index()][rejected]
	o := slot.Load()
	if o == nil {
		found := find(strconv.FormatBool(err != nil)) // twice is no harm: a series is there once
		o = &found
		slot.Store(o)
	}
	(*o).Observe(took.Seconds())
}

func (op Operation) index() int {
	switch op {
	case Create:
		return 0
	case Update:
		return 1
	case Delete:
		return 2
	}
	return 3
}

// plugin notes that a plug-in, begun at begun, has ended now, which it returns.
func (m *metrics) plugin(s *series, name, phase string, op Operation, begun time.Time, err error) time.Time {
	now := time.Now()
	if name != "" {
		s.observe(op, now.Sub(begun), err, func(rejected string) prometheus.Observer {
			return m.plugins.WithLabelValues(name, phase, string(op), rejected)
		})
	}
	return now
}

// step notes that a phase, begun at begun, is over.
func (m *metrics) step(s *series, phase string, op Operation, begun time.Time, err error) {
	s.observe(op, time.Since(begun), err, func(rejected string) prometheus.Observer {
		return both{m.steps.WithLabelValues(phase, string(op), rejected), m.summary.WithLabelValues(phase, string(op), rejected)}
	})
}

type both struct{ histogram, summary prometheus.Observer }

func (b both) Observe(v float64) { b.histogram.Observe(v); b.summary.Observe(v) }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	m.plugins.Describe(ch)
	m.steps.Describe(ch)
	m.summary.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.plugins.Collect(ch)
	m.steps.Collect(ch)
	m.summary.Collect(ch)
}
