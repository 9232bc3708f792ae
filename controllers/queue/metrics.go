package queue

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics tells of all queues of the process, under the names of upstream's workqueue metrics.
var Metrics prometheus.Collector = metrics{}

var (
	durations = prometheus.ExponentialBuckets(10e-9, 10, 10)
	adds      = counter("adds_total", "Total number of adds handled by workqueue")
	retries   = counter("retries_total", "Total number of retries handled by workqueue")
	waited    = histogram("queue_duration_seconds", "How long in seconds an item stays in workqueue before being requested.")
	worked    = histogram("work_duration_seconds", "How long in seconds processing an item from workqueue takes.")

	depthDesc   = desc("depth", "Current depth of workqueue")
	undoneDesc  = desc("unfinished_work_seconds", "How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases.")
	longestDesc = desc("longest_running_processor_seconds", "How many seconds has the longest running processor for workqueue been running.")
)

func counter(name, help string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "workqueue_" + name, Help: help}, []string{"name"})
}

func histogram(name, help string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "workqueue_" + name, Help: help, Buckets: durations}, []string{"name"})
}

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("workqueue_"+name, help, []string{"name"}, nil)
}

// A meter counts for one queue.
type meter struct {
	adds, retries  prometheus.Counter
	waited, worked prometheus.Observer
}

func newMeter(name string) meter {
	return meter{adds.WithLabelValues(name), retries.WithLabelValues(name), waited.WithLabelValues(name), worked.WithLabelValues(name)}
}

// A state is what a queue has to do at one instant.
type state struct {
	depth           int
	undone, longest time.Duration // of what is being worked on, added up and the most
}

// running are the queues that run now, by what tells their state.
var running struct {
	sync.Mutex
	queues map[any]func() (name string, s state)
}

func register(q any, tell func() (string, state)) {
	running.Lock()
	defer running.Unlock()
	if running.queues == nil {
		running.queues = map[any]func() (string, state){}
	}
	running.queues[q] = tell
}

func unregister(q any) {
	running.Lock()
	defer running.Unlock()
	delete(running.queues, q)
}

type metrics struct{}

func (metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Collector{adds, retries, waited, worked} {
		c.Describe(ch)
	}
	ch <- depthDesc
	ch <- undoneDesc
	ch <- longestDesc
}

func (metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{adds, retries, waited, worked} {
		c.Collect(ch)
	}
	for name, s := range states() {
		ch <- prometheus.MustNewConstMetric(depthDesc, prometheus.GaugeValue, float64(s.depth), name)
		ch <- prometheus.MustNewConstMetric(undoneDesc, prometheus.GaugeValue, s.undone.Seconds(), name)
		ch <- prometheus.MustNewConstMetric(longestDesc, prometheus.GaugeValue, s.longest.Seconds(), name)
	}
}

// states returns what the running queues have to do, by name; queues of one name count as one.
func states() map[string]state {
	running.Lock()
	tells := slices.Collect(maps.Values(running.queues))
	running.Unlock() // before any queue's lock is taken
	out := map[string]state{}
	for _, tell := range tells {
		name, s := tell()
		all := out[name]
		out[name] = state{all.depth + s.depth, all.undone + s.undone, max(all.longest, s.longest)}
	}
	return out
}
