package pull

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are a kubelet's of the same names.
type metrics struct {
	requests *prometheus.CounterVec
	checks   *prometheus.CounterVec
}

func newMetrics() metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_" + name, Help: "[ALPHA] " + help}, labels)
	}
	return metrics{
		requests: counter("image_manager_ensure_image_requests_total", "Number of ensure-image requests processed by the kubelet.",
			"pull_policy", "present_locally", "pull_required"),
		checks: counter("imagemanager_image_mustpull_checks_total",
			"Counter for how many times kubelet checked whether credentials need to be re-verified to access an image", "result"),
	}
}

// Outcomes of a look at whether a pod may use an image that is there.
const (
	allowedByPolicy  = "credentialPolicyAllowed"
	recordFound      = "credentialRecordFound"
	mustAuthenticate = "mustAuthenticate"
	checkFailed      = "error"
)

// A finding is what a request for an image has come upon, for the metrics.
type finding struct{ present, pull string }

const unknown = "unknown"

func (m *metrics) count(r Request, f finding) {
	m.requests.WithLabelValues(strings.ToLower(string(r.Policy)), f.present, f.pull).Inc()
}

// Collectors are what a registry of metrics takes.
func (p *Puller) Collectors() []prometheus.Collector {
	return []prometheus.Collector{p.metrics.requests, p.metrics.checks}
}
