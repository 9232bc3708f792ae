package stats

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// scrapeTimeout bounds one collection of metrics.
const scrapeTimeout = 30 * time.Second

var (
	containerLabels = []string{"container", "pod", "namespace"}
	podLabels       = []string{"pod", "namespace"}
)

func desc(name, help string, labels []string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// What /metrics/resource consists of. Names and texts are upstream's.
var (
	nodeCPU         = desc("node_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the node in core-seconds", nil)
	nodeMemory      = desc("node_memory_working_set_bytes", "[STABLE] Current working set of the node in bytes", nil)
	nodeSwap        = desc("node_swap_usage_bytes", "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems", nil)
	containerCPU    = desc("container_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the container in core-seconds", containerLabels)
	containerMemory = desc("container_memory_working_set_bytes", "[STABLE] Current working set of the container in bytes", containerLabels)
	containerSwap   = desc("container_swap_usage_bytes", "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems", containerLabels)
	containerStart  = desc("container_start_time_seconds", "[STABLE] Start time of the container since unix epoch in seconds", containerLabels)
	podCPU          = desc("pod_cpu_usage_seconds_total", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds", podLabels)
	podMemory       = desc("pod_memory_working_set_bytes", "[STABLE] Current working set of the pod in bytes", podLabels)
	podSwap         = desc("pod_swap_usage_bytes", "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems", podLabels)
	scrapeError     = desc("resource_scrape_error", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise", nil)
)

// Resource returns the metrics of /metrics/resource, which metrics-server reads.
func (c *Collector) Resource() prometheus.Collector { return resource{c} }

type resource struct{ *Collector }

// Describe implements prometheus.Collector. Which series there are is known when they are collected.
func (resource) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r resource) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	s := r.Summary(ctx, true)
	e := emitter{ch}
	e.resources(s.Node.CPU, s.Node.Memory, s.Node.Swap, nodeCPU, nodeMemory, nodeSwap)
	for i := range s.Pods {
		p := &s.Pods[i]
		for _, c := range p.Containers {
			labels := []string{c.Name, p.PodRef.Name, p.PodRef.Namespace}
			e.resources(c.CPU, c.Memory, c.Swap, containerCPU, containerMemory, containerSwap, labels...)
			if c.StartTime.Unix() > 0 {
				e.value(containerStart, prometheus.GaugeValue, float64(c.StartTime.UnixNano())/float64(time.Second), time.Time{}, labels...)
			}
		}
		e.resources(p.CPU, p.Memory, p.Swap, podCPU, podMemory, podSwap, p.PodRef.Name, p.PodRef.Namespace)
	}
	e.value(scrapeError, prometheus.GaugeValue, 0, time.Time{})
}

// An emitter sends samples.
type emitter struct{ ch chan<- prometheus.Metric }

// value sends one sample; a zero time leaves the time stamp out.
func (e emitter) value(d *prometheus.Desc, kind prometheus.ValueType, v float64, at time.Time, labels ...string) {
	m := prometheus.MustNewConstMetric(d, kind, v, labels...)
	if !at.IsZero() {
		m = prometheus.NewMetricWithTimestamp(at, m)
	}
	e.ch <- m
}

// resources sends the three samples that nodes, pods and containers all have, as far as they are known.
func (e emitter) resources(cpu *statsapi.CPUStats, mem *statsapi.MemoryStats, sw *statsapi.SwapStats, dc, dm, ds *prometheus.Desc, labels ...string) {
	if cpu != nil && cpu.UsageCoreNanoSeconds != nil {
		e.value(dc, prometheus.CounterValue, float64(*cpu.UsageCoreNanoSeconds)/float64(time.Second), cpu.Time.Time, labels...)
	}
	if mem != nil && mem.WorkingSetBytes != nil {
		e.value(dm, prometheus.GaugeValue, float64(*mem.WorkingSetBytes), mem.Time.Time, labels...)
	}
	if sw != nil && sw.SwapUsageBytes != nil {
		e.value(ds, prometheus.GaugeValue, float64(*sw.SwapUsageBytes), sw.Time.Time, labels...)
	}
}
