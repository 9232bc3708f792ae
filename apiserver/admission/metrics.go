package admission

import (
	"strconv"
	"sync"
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
	series  sync.Map // seriesKey → prometheus.Observer
}

type seriesKey struct {
	name, phase string
	operation   Operation
	rejected    bool
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

// plugin notes that a plug-in, begun at begun, has ended now, which it returns.
func (m *metrics) plugin(name, phase string, op Operation, begun time.Time, err error) time.Time {
	now := time.Now()
	if name != "" {
		m.observer(seriesKey{name, phase, op, err != nil}).Observe(now.Sub(begun).Seconds())
	}
	return now
}

// step notes that a phase, begun at begun, is over.
func (m *metrics) step(phase string, op Operation, begun time.Time, err error) {
	m.observer(seriesKey{"", phase, op, err != nil}).Observe(time.Since(begun).Seconds())
}

func (m *metrics) observer(k seriesKey) prometheus.Observer {
	if o, ok := m.series.Load(k); ok {
		return o.(prometheus.Observer)
	}
	rejected := strconv.FormatBool(k.rejected)
	var o prometheus.Observer
	if k.name != "" {
		o = m.plugins.WithLabelValues(k.name, k.phase, string(k.operation), rejected)
	} else {
		o = both{m.steps.WithLabelValues(k.phase, string(k.operation), rejected), m.summary.WithLabelValues(k.phase, string(k.operation), rejected)}
	}
	m.series.Store(k, o)
	return o
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
