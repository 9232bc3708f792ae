package resources

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"clipper/node/resources/topology"
)

// metrics count under upstream's names.
type metrics struct {
	requests, errors             prometheus.Counter // of admissions
	duration                     prometheus.Histogram
	cpuRequests, cpuErrors       prometheus.Counter // of CPUs for one container
	memoryRequests, memoryErrors prometheus.Counter
}

func newMetrics() metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "kubelet_" + name, Help: "[ALPHA] " + help})
	}
	return metrics{
		requests: counter("topology_manager_admission_requests_total", "The number of admission requests where resources have to be aligned."),
		errors:   counter("topology_manager_admission_errors_total", "The number of admission request failures where resources could not be aligned."),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kubelet_topology_manager_admission_duration_ms",
			Help: "[ALPHA] Duration in milliseconds to serve a pod admission request.", Buckets: prometheus.ExponentialBuckets(.05, 2, 15)}),
		cpuRequests:    counter("cpu_manager_pinning_requests_total", "The number of cpu core allocations which required pinning."),
		cpuErrors:      counter("cpu_manager_pinning_errors_total", "The number of cpu core allocations which required pinning failed."),
		memoryRequests: counter("memory_manager_pinning_requests_total", "The number of memory pages allocations which required pinning."),
		memoryErrors:   counter("memory_manager_pinning_errors_total", "The number of memory pages allocations which required pinning that failed."),
	}
}

// Collectors returns what a registry takes.
func (m *Manager) Collectors() []prometheus.Collector {
	c := &m.metrics
	return []prometheus.Collector{c.requests, c.errors, c.duration, c.cpuRequests, c.cpuErrors, c.memoryRequests, c.memoryErrors, pools{m}}
}

// admitted counts an admission.
func (c *metrics) admitted(began time.Time, err error) {
	c.requests.Inc()
	if err != nil {
		c.errors.Inc()
	}
	c.duration.Observe(float64(time.Since(began).Milliseconds()))
}

// counted counts CPUs or memory that a container was to have for itself.
func counted(wanted bool, requests, errors prometheus.Counter, err error) error {
	if wanted {
		requests.Inc()
		if err != nil {
			errors.Inc()
		}
	}
	return err
}

// pools tells how many CPUs are shared, and how many are not.
type pools struct{ m *Manager }

var (
	sharedDesc    = prometheus.NewDesc("kubelet_cpu_manager_shared_pool_size_millicores", "[ALPHA] The size of the shared CPU pool for non-guaranteed QoS pods, in millicores.", nil, nil)
	exclusiveDesc = prometheus.NewDesc("kubelet_cpu_manager_exclusive_cpu_allocation_count", "[ALPHA] The total number of CPUs exclusively allocated to containers running on this node", nil, nil)
	byNodeDesc    = prometheus.NewDesc("kubelet_cpu_manager_allocation_per_numa", "[ALPHA] Number of CPUs allocated per NUMA node", []string{"numa_node"}, nil)
)

func (pools) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sharedDesc, exclusiveDesc, byNodeDesc} {
		ch <- d
	}
}

func (p pools) Collect(ch chan<- prometheus.Metric) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.m.cpus == nil {
		return
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	given, free := p.m.cpus.Given()
	gauge(sharedDesc, free.Size()*1000)
	gauge(exclusiveDesc, given.Size())
	for _, node := range p.m.machine.Groups(topology.ByNode, given) {
		gauge(byNodeDesc, p.m.machine.In(topology.ByNode, node).Intersection(given).Size(), strconv.Itoa(node))
	}
}
