package devices

import "github.com/prometheus/client_golang/prometheus"

// metrics count under upstream's names.
type metrics struct {
	registrations *prometheus.CounterVec
	allocations   *prometheus.HistogramVec
}

func newMetrics() metrics {
	return metrics{
		registrations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_device_plugin_registration_total",
			Help: "[ALPHA] Cumulative number of device plugin registrations. Broken down by resource name."}, []string{"resource_name"}),
		allocations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_device_plugin_alloc_duration_seconds", Buckets: prometheus.DefBuckets,
			Help: "[ALPHA] Duration in seconds to serve a device plugin Allocation request. Broken down by resource name."}, []string{"resource_name"}),
	}
}

// Collectors returns what a registry takes.
func (m *Manager) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.metrics.registrations, m.metrics.allocations}
}
