package eviction

import "github.com/prometheus/client_golang/prometheus"

// Metrics count evictions, under upstream's names.
type Metrics struct {
	evictions *prometheus.CounterVec
	age       *prometheus.HistogramVec
}

// NewMetrics returns counters at zero.
func NewMetrics() *Metrics {
	return &Metrics{
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_evictions",
			Help: "[ALPHA] Cumulative number of pod evictions by eviction signal"}, []string{"eviction_signal"}),
		age: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_eviction_stats_age_seconds", Buckets: prometheus.DefBuckets,
			Help: "[ALPHA] Time between when stats are collected, and when pod is evicted based on those stats by eviction signal"}, []string{"eviction_signal"}),
	}
}

// Collectors returns what a registry takes.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.evictions, m.age}
}
