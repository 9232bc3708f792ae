package scheduler

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What the scheduler counts, under upstream's names. The figures are those of the process: a server that stops
// leading and leads again goes on counting.
var (
	attempts = counters("schedule_attempts_total", "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.", "result", "profile")
	entered  = counters("queue_incoming_pods_total", "Number of pods added to scheduling queues by event and queue type.", "queue", "event")
	took     = histograms("scheduling_attempt_duration_seconds", "Scheduling attempt latency in seconds (scheduling algorithm + binding)", prometheus.ExponentialBuckets(0.001, 2, 15), "result", "profile")
	waited   = histograms("pod_scheduling_sli_duration_seconds", "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.", prometheus.ExponentialBuckets(0.01, 2, 20), "attempts")
	points   = histograms("framework_extension_point_duration_seconds", "Latency for running all plugins of a specific extension point.", prometheus.ExponentialBuckets(0.0001, 2, 12), "extension_point", "status", "profile")

	tries       = histogram("pod_scheduling_attempts", "Number of attempts to successfully schedule a pod.", prometheus.ExponentialBuckets(1, 2, 5))
	algorithm   = histogram("scheduling_algorithm_duration_seconds", "Scheduling algorithm latency in seconds", prometheus.ExponentialBuckets(0.001, 2, 15))
	victims     = histogram("preemption_victims", "Number of selected preemption victims", prometheus.ExponentialBuckets(1, 2, 7))
	preemptions = prometheus.NewCounter(prometheus.CounterOpts{Name: "scheduler_preemption_attempts_total", Help: "Total preemption attempts in the cluster till now"})

	pendingDesc  = prometheus.NewDesc("scheduler_pending_pods", "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; 'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never attempted to schedule because they are gated.", []string{"queue"}, nil)
	rejectedDesc = prometheus.NewDesc("scheduler_unschedulable_pods", "The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all plugins that caused it to not schedule and so this metric have meaning only when broken down by plugin.", []string{"plugin", "profile"}, nil)
	cacheDesc    = prometheus.NewDesc("scheduler_scheduler_cache_size", "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.", []string{"type"}, nil)
)

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "scheduler_" + name, Help: help}, labels)
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "scheduler_" + name, Help: help, Buckets: buckets}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "scheduler_" + name, Help: help, Buckets: buckets})
}

// Collectors are what the process counts about scheduling.
func Collectors() []prometheus.Collector {
	return []prometheus.Collector{attempts, entered, took, waited, points, tries, algorithm, victims, preemptions, &running}
}

// Results of an attempt. Upstream's words.
const (
	scheduled     = "scheduled"
	unschedulable = "unschedulable"
	failed        = "error"
)

// attempted counts an attempt that began at begun.
func attempted(result string, begun, now time.Time) {
	attempts.WithLabelValues(result, Name).Inc()
	took.WithLabelValues(result, Name).Observe(now.Sub(begun).Seconds())
}

// boundAfter counts a pod that has its node: it was first tried at first.
func boundAfter(tried int, first, now time.Time) {
	const many = 15 // are one label from here on
	label := strconv.Itoa(tried)
	if tried >= many {
		label = "15+"
	}
	waited.WithLabelValues(label).Observe(now.Sub(first).Seconds())
	tries.Observe(float64(tried))
}

// passed notes how long one of the steps of an attempt took, under the name of upstream's extension point, and
// returns the time, at which the next step begins.
func passed(point string, ok bool, begun time.Time) time.Time {
	status, now := "Success", time.Now()
	if !ok {
		status = "Unschedulable"
	}
	points.WithLabelValues(point, status, Name).Observe(now.Sub(begun).Seconds())
	return now
}

// running is the scheduler that runs in this process, if any: how many pods wait is read off it when somebody asks.
var running current

type current struct {
	mu sync.Mutex
	s  *Scheduler
}

func (c *current) set(s *Scheduler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s = s
}

// Describe implements prometheus.Collector.
func (c *current) Describe(ch chan<- *prometheus.Desc) {
	ch <- pendingDesc
	ch <- rejectedDesc
	ch <- cacheDesc
}

// Collect implements prometheus.Collector.
func (c *current) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	s := c.s
	c.mu.Unlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	waiting, rejected := s.queue.Count(), s.queue.Rejected()
	nodes, pods, assumed := len(s.cluster.Nodes()), s.cluster.Pods(), len(s.assumed)
	s.mu.Unlock()
	for queue, n := range waiting {
		ch <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(n), queue)
	}
	for plugin, n := range rejected {
		ch <- prometheus.MustNewConstMetric(rejectedDesc, prometheus.GaugeValue, float64(n), plugin, Name)
	}
	for what, n := range map[string]int{"nodes": nodes, "pods": pods, "assumed_pods": assumed} {
		ch <- prometheus.MustNewConstMetric(cacheDesc, prometheus.GaugeValue, float64(n), what)
	}
}
