// Package measure counts and times what a node's agent asks of its runtime, and how long pods take to start. The names
// are those of a v1.36 kubelet's metrics.
package measure

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"clipper/node/runtime"
)

// A Meter measures. All methods may be called concurrently.
type Meter struct {
	operations, errors      *prometheus.CounterVec
	durations               *prometheus.HistogramVec
	sandboxes               *prometheus.HistogramVec
	sandboxErrors           *prometheus.CounterVec
	startedPods, failedPods prometheus.Counter
	pulls                   *prometheus.HistogramVec

	startup
}

// startBuckets are for how long pods take to start, pullBuckets for how long images take to be pulled. Upstream's figures.
var (
	startBuckets = []float64{0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}
	pullBuckets  = []float64{1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}
)

// New returns a meter that has seen nothing.
func New() *Meter {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_" + name, Help: "[ALPHA] " + help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_" + name, Help: "[ALPHA] " + help, Buckets: buckets}, labels)
	}
	return &Meter{
		operations: counter("runtime_operations_total", "Cumulative number of runtime operations by operation type.", "operation_type"),
		errors:     counter("runtime_operations_errors_total", "Cumulative number of runtime operation errors by operation type.", "operation_type"),
		durations: histogram("runtime_operations_duration_seconds", "Duration in seconds of runtime operations. Broken down by operation type.",
			prometheus.ExponentialBuckets(.005, 2.5, 14), "operation_type"),
		sandboxes:     histogram("run_podsandbox_duration_seconds", "Duration in seconds of the run_podsandbox operations. Broken down by RuntimeClass.Handler.", prometheus.DefBuckets, "runtime_handler"),
		sandboxErrors: counter("run_podsandbox_errors_total", "Cumulative number of the run_podsandbox operation errors by RuntimeClass.Handler.", "runtime_handler"),
		startedPods:   prometheus.NewCounter(prometheus.CounterOpts{Name: "kubelet_started_pods_total", Help: "[ALPHA] Cumulative number of pods started"}),
		failedPods:    prometheus.NewCounter(prometheus.CounterOpts{Name: "kubelet_started_pods_errors_total", Help: "[ALPHA] Cumulative number of errors when starting pods"}),
		pulls:         histogram("image_pull_duration_seconds", "Duration in seconds to pull an image.", pullBuckets, "image_size_in_bytes"),
		startup: startup{
			duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kubelet_pod_start_duration_seconds", Buckets: startBuckets,
				Help: "[ALPHA] Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run"}),
			sli:   histogram("pod_start_sli_duration_seconds", "Duration in seconds to start a pod, excluding time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch", startBuckets, "first_with_network"),
			total: histogram("pod_start_total_duration_seconds", "Duration in seconds to start a pod since creation, including time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch", startBuckets, "first_with_network"),
		},
	}
}

// Collectors are what a registry of metrics takes.
func (m *Meter) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.operations, m.errors, m.durations, m.sandboxes, m.sandboxErrors, m.startedPods, m.failedPods, m.pulls,
		m.duration, m.sli, m.total}
}

// time counts an operation; what it returns takes the operation's outcome.
func (m *Meter) time(operation string) func(error) {
	m.operations.WithLabelValues(operation).Inc()
	start := time.Now()
	return func(err error) {
		m.durations.WithLabelValues(operation).Observe(time.Since(start).Seconds())
		if err != nil {
			m.errors.WithLabelValues(operation).Inc()
		}
	}
}

// Runtime returns rt, measured.
func (m *Meter) Runtime(rt runtime.Runtime) runtime.Runtime { return measured{rt, m} }

// Images returns images, measured.
func (m *Meter) Images(images runtime.Images) runtime.Images { return measuredImages{images, m} }
