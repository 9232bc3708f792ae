package aggregation

import (
	"github.com/prometheus/client_golang/prometheus"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// metrics are upstream's of the availability of APIServices.
type metrics struct {
	failures *prometheus.CounterVec
	unavailability
}

func newMetrics(list func() []*apiregistrationv1.APIService) *metrics {
	return &metrics{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aggregator_unavailable_apiservice_total",
			Help: "[ALPHA] Counter of APIServices which are marked as unavailable broken down by APIService name and reason.",
		}, []string{"name", "reason"}),
		unavailability: unavailability{list},
	}
}

// wrote counts an APIService that was available and is not any more.
func (m *metrics) wrote(s *apiregistrationv1.APIService, v verdict) {
	if isAvailable(s) && v.status != apiregistrationv1.ConditionTrue {
		m.failures.WithLabelValues(s.Name, v.reason).Inc()
	}
}

// Describe implements prometheus.Collector.
func (c *Controller) Describe(out chan<- *prometheus.Desc) {
	c.metrics.failures.Describe(out)
	out <- unavailableDesc
}

// Collect implements prometheus.Collector.
func (c *Controller) Collect(out chan<- prometheus.Metric) {
	c.metrics.failures.Collect(out)
	c.metrics.collect(out)
}

// unavailability reads the conditions when it is asked.
type unavailability struct {
	list func() []*apiregistrationv1.APIService
}

var unavailableDesc = prometheus.NewDesc("aggregator_unavailable_apiservice",
	"[ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService name.", []string{"name"}, nil)

func (u unavailability) collect(out chan<- prometheus.Metric) {
	for _, s := range u.list() {
		value := 1.0
		if isAvailable(s) {
			value = 0
		}
		out <- prometheus.MustNewConstMetric(unavailableDesc, prometheus.GaugeValue, value, s.Name)
	}
}
