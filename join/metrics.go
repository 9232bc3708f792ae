package join

import (
	"crypto/x509"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what becomes of a node's certificates.
type metrics struct {
	clientErrors, servingErrors prometheus.Counter
	servingAge                  prometheus.Histogram
}

// ages are the bounds, in seconds, that certificates' lives are counted in. Upstream's figures.
var ages = []float64{60, 3600, 14400, 86400, 604800, 2592000, 7776000, 15552000, 31104000, 124416000}

func newMetrics() metrics {
	return metrics{
		clientErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "kubelet_certificate_manager_client_expiration_renew_errors",
			Help: "[ALPHA] Counter of certificate renewal errors."}),
		servingErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "kubelet_server_expiration_renew_errors",
			Help: "[ALPHA] Counter of certificate renewal errors."}),
		servingAge: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kubelet_certificate_manager_server_rotation_seconds", Buckets: ages,
			Help: "[ALPHA] Histogram of the number of seconds the previous certificate lived before being rotated."}),
	}
}

func (m *metrics) failed(base string) {
	if base == clientBase {
		m.clientErrors.Inc()
	} else {
		m.servingErrors.Inc()
	}
}

func (m *metrics) renewed(base string, before *x509.Certificate, now time.Time) {
	if base == servingBase && before != nil {
		m.servingAge.Observe(now.Sub(before.NotBefore).Seconds())
	}
}

// Collectors are the metrics of the certificates, for the node's /metrics.
func (id *Identity) Collectors() []prometheus.Collector {
	left := func(name, which string, leaf func() *x509.Certificate) prometheus.Collector {
		help := "[ALPHA] Gauge of the shortest TTL (time-to-live) of the Kubelet's " + which + " certificate. The value is in seconds until " +
			"certificate expiry (negative if already expired). If " + which + " certificate is invalid or unused, the value will be +INF."
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if c := leaf(); c != nil {
				return math.Trunc(time.Until(c.NotAfter).Seconds())
			}
			return math.Inf(1)
		})
	}
	return []prometheus.Collector{
		id.metrics.clientErrors, id.metrics.servingErrors, id.metrics.servingAge,
		left("kubelet_certificate_manager_client_ttl_seconds", "client", id.clientLeaf),
		left("kubelet_certificate_manager_server_ttl_seconds", "serving", id.servingLeaf),
	}
}
