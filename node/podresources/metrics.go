package podresources

import (
	"path"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count requests, under upstream's names.
type Metrics struct {
	total            *prometheus.CounterVec
	requests, errors map[string]*prometheus.CounterVec // by method
}

const version = "v1"

// NewMetrics returns counters at zero.
func NewMetrics() *Metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_pod_resources_endpoint_" + name,
			Help: "[ALPHA] " + help + " Broken down by server api version."}, []string{"server_api_version"})
	}
	m := &Metrics{total: counter("requests_total", "Cumulative number of requests to the PodResource endpoint."),
		requests: map[string]*prometheus.CounterVec{}, errors: map[string]*prometheus.CounterVec{}}
	for method, name := range map[string]string{"List": "list", "GetAllocatableResources": "get_allocatable", "Get": "get"} {
		m.requests[method] = counter("requests_"+name, "Number of requests to the PodResource "+method+" endpoint.")
		m.errors[method] = counter("errors_"+name, "Number of requests to the PodResource "+method+" endpoint which returned error.")
	}
	return m
}

// Collectors returns what a registry takes.
func (m *Metrics) Collectors() []prometheus.Collector {
	out := []prometheus.Collector{m.total}
	for method := range m.requests {
		out = append(out, m.requests[method], m.errors[method])
	}
	return out
}

// count counts a request by its full name.
func (m *Metrics) count(full string, err error) {
	method := path.Base(full)
	if m.requests[method] == nil {
		return
	}
	m.total.WithLabelValues(version).Inc()
	m.requests[method].WithLabelValues(version).Inc()
	if err != nil {
		m.errors[method].WithLabelValues(version).Inc()
	}
}
