package probe

import (
	"time"

	"clipper/api/containers"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

// Metrics count checks, under upstream's names. A nil one counts nothing.
type Metrics struct {
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewMetrics returns metrics of no checks.
func NewMetrics() *Metrics {
	return &Metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "prober_probe_total",
			Help: "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result."},
			[]string{"probe_type", "result", "container", "pod", "namespace", "pod_uid"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "prober_probe_duration_seconds", Buckets: prometheus.DefBuckets,
			Help: "[ALPHA] Duration in seconds for a probe response."}, []string{"probe_type", "container", "pod", "namespace"}),
	}
}

// Collectors are what a registry of metrics takes.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.total, m.duration}
}

// Observer returns what a Prober of a container calls as Checked.
func (m *Metrics) Observer(pod *corev1.Pod, container string, k Kind) func(Result, time.Duration) {
	if m == nil {
		return func(Result, time.Duration) {}
	}
	name, ns, uid := pod.Name, pod.Namespace, string(pod.UID)
	return func(r Result, took time.Duration) {
		result := map[Result]string{Success: "successful", Warning: "successful", Failure: "failed"}[r]
		if result == "" {
			result = "unknown"
		}
		m.total.WithLabelValues(string(k), result, container, name, ns, uid).Inc()
		if r == Success || r == Warning {
			m.duration.WithLabelValues(string(k), container, name, ns).Observe(took.Seconds())
		}
	}
}

// Forget drops what was counted for a pod.
func (m *Metrics) Forget(pod *corev1.Pod) {
	if m == nil || !hasProbes(pod) {
		return
	}
	m.total.DeletePartialMatch(prometheus.Labels{"pod_uid": string(pod.UID)})
	m.duration.DeletePartialMatch(prometheus.Labels{"pod": pod.Name, "namespace": pod.Namespace})
}

func hasProbes(pod *corev1.Pod) bool {
	for c := range containers.Of(&pod.Spec) {
		if c.LivenessProbe != nil || c.ReadinessProbe != nil || c.StartupProbe != nil {
			return true
		}
	}
	return false
}
