package podgc

import "github.com/prometheus/client_golang/prometheus"

// What the process counts about pods that are collected, under upstream's names.
var (
	collected = counter("force_delete_pods_total", "Number of pods that are being forcefully deleted since the Pod GC Controller started.")
	failures  = counter("force_delete_pod_errors_total", "Number of errors encountered when forcefully deleting the pods since the Pod GC Controller started.")
)

// Why a pod is collected. Upstream's words.
const (
	terminated   = "terminated"
	outOfUse     = "out-of-service"
	orphaned     = "orphaned"
	neverStarted = "unscheduled"
)

func counter(name, help string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pod_gc_collector_" + name, Help: help}, []string{"namespace", "reason"})
}

// Collectors are what the process counts about pods that are collected.
func Collectors() []prometheus.Collector { return []prometheus.Collector{collected, failures} }
