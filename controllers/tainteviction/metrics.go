package tainteviction

import "github.com/prometheus/client_golang/prometheus"

// What the process counts about evictions, under upstream's names.
var (
	deletions = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "taint_eviction_controller_pod_deletions_total",
		Help: "Total number of Pods deleted by TaintEvictionController since its start.",
	})
	lateness = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "taint_eviction_controller_pod_deletion_duration_seconds",
		Help:    "Latency, in seconds, between the time when a taint effect has been activated for the Pod and its deletion via TaintEvictionController.",
		Buckets: []float64{0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 30, 60, 120, 180, 240},
	})
)

// Collectors are what the process counts about evictions.
func Collectors() []prometheus.Collector { return []prometheus.Collector{deletions, lateness} }
