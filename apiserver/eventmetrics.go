package apiserver

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// eventBounds are the upper bounds of an event's size in bytes. Upstream's.
var eventBounds = [...]int{1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10}

// An eventTally is what one watch has sent and nobody knows of yet. An event is sent to many watches, so that it matters what
// counting it costs: a tally is one goroutine's alone, and shared figures are touched once for many events.
type eventTally struct {
	counts [len(eventBounds) + 1]uint32 // by size; the last is of what is larger than any bound
	bytes  uint64
}

func (t *eventTally) add(size int) {
	i := 0
	for i < len(eventBounds) && size > eventBounds[i] {
		i++
	}
	t.counts[i]++
	t.bytes += uint64(size) // #nosec G115 -- a length
}

// eventMetrics are the events that watches have sent, by resource.
type eventMetrics struct {
	mu    sync.Mutex
	sizes map[schema.GroupVersionResource]*eventSizes
}

type eventSizes struct {
	counts [len(eventBounds) + 1]uint64
	bytes  uint64
}

// add takes what a watch has counted, which begins anew.
func (m *eventMetrics) add(of schema.GroupVersionResource, t *eventTally) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sizes[of]
	if s == nil {
		s = &eventSizes{}
		if m.sizes == nil {
			m.sizes = map[schema.GroupVersionResource]*eventSizes{}
		}
		m.sizes[of] = s
	}
	for i, n := range t.counts {
		s.counts[i] += uint64(n)
	}
	s.bytes += t.bytes
	*t = eventTally{}
}

// Reset forgets everything.
func (m *eventMetrics) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sizes = nil
}

var (
	eventLabels    = []string{"group", "version", "resource"}
	eventCountDesc = prometheus.NewDesc("apiserver_watch_events_total", "Number of events sent in watch clients", eventLabels, nil)
	eventSizesDesc = prometheus.NewDesc("apiserver_watch_events_sizes", "Watch event size distribution in bytes", eventLabels, nil)
)

// Describe implements prometheus.Collector.
func (m *eventMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- eventCountDesc
	out <- eventSizesDesc
}

// Collect implements prometheus.Collector.
func (m *eventMetrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	sizes := map[schema.GroupVersionResource]eventSizes{}
	for of, s := range m.sizes {
		sizes[of] = *s
	}
	m.mu.Unlock()
	for of, s := range sizes {
		buckets, total := map[float64]uint64{}, uint64(0)
		for i, n := range s.counts {
			total += n
			if i < len(eventBounds) {
				buckets[float64(eventBounds[i])] = total
			}
		}
		out <- prometheus.MustNewConstMetric(eventCountDesc, prometheus.CounterValue, float64(total), of.Group, of.Version, of.Resource)
		out <- prometheus.MustNewConstHistogram(eventSizesDesc, total, float64(s.bytes), buckets, of.Group, of.Version, of.Resource)
	}
}
