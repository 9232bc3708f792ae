// Package meter counts what a store does, under the names of upstream's storage metrics: its writes are the requests
// to etcd, wherever the log is kept; what it publishes are the events received from there.
package meter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/store"
)

// sizeTimeout bounds how long the log may think about its size.
const sizeTimeout = time.Second

// buckets are those of requests. Upstream's.
var buckets = []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}

var (
	eventsDesc   = prometheus.NewDesc("apiserver_storage_events_received_total", "Number of etcd events received split by kind.", []string{"group", "resource"}, nil)
	receivedDesc = prometheus.NewDesc("apiserver_watch_cache_events_received_total", "Counter of events received in watch cache broken by resource type.", []string{"group", "resource"}, nil)
	sentDesc     = prometheus.NewDesc("apiserver_watch_cache_events_dispatched_total", "Counter of events dispatched in watch cache broken by resource type.", []string{"group", "resource"}, nil)
	beganDesc    = prometheus.NewDesc("apiserver_watch_cache_initializations_total", "Counter of watch cache initializations broken by resource type.", []string{"group", "resource"}, nil)
	capacityDesc = prometheus.NewDesc("watch_cache_capacity", "Total capacity of watch cache broken by resource type.", []string{"group", "resource"}, nil)
	versionDesc  = prometheus.NewDesc("apiserver_watch_cache_resource_version", "Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant digits.", []string{"group", "resource"}, nil)
	sizeDesc     = prometheus.NewDesc("apiserver_storage_size_bytes", "Size of the storage database file physically allocated in bytes.", []string{"storage_cluster_id"}, nil)
	estimateDesc = prometheus.NewDesc("apiserver_resource_size_estimate_bytes", "Estimated size of stored objects in database. Estimate is based on sum of last observed sizes of serialized objects. In case of a fetching error, the value will be -1.", []string{"group", "resource"}, nil)
)

// versionDigits cuts a revision to what a number of Prometheus can hold exactly. Upstream's figure.
const versionDigits = 1e15

// A Meter counts for one store.
type Meter struct {
	requests, errors *prometheus.CounterVec
	took             *prometheus.HistogramVec

	series sync.Map                    // request → *series
	store  atomic.Pointer[store.Store] // nil: not open yet
	hidden Hidden
}

// Hidden are what a Meter does not show.
type Hidden struct{ Estimates, Size bool }

type request struct{ prefix, operation string }

type series struct {
	count, errors prometheus.Counter
	took          prometheus.Observer
}

// New returns a Meter whose Committed is to be given to the store.
func New() *Meter {
	labels := []string{"operation", "group", "resource"}
	return &Meter{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_requests_total", Help: "Etcd request counts for each operation and object type."}, labels),
		errors:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_request_errors_total", Help: "Etcd failed request counts for each operation and object type."}, labels),
		took:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "etcd_request_duration_seconds", Help: "Etcd request latency in seconds for each operation and object type.", Buckets: buckets}, labels),
	}
}

// Hide leaves out what somebody does not want to see. It is to be called before Watch.
func (m *Meter) Hide(h Hidden) { m.hidden = h }

// Watch makes the meter show what is true of s when somebody asks.
func (m *Meter) Watch(s *store.Store) { m.store.Store(s) }

// Committed counts a write. A precondition that did not hold is an answer, not an error.
func (m *Meter) Committed(r schema.GroupResource, prefix, operation string, took time.Duration, err error) {
	s := m.get(r, request{prefix, operation})
	s.count.Inc()
	s.took.Observe(took.Seconds())
	var conflict *store.ConflictError
	if err != nil && !errors.As(err, &conflict) {
		s.errors.Inc()
	}
}

func (m *Meter) get(r schema.GroupResource, key request) *series {
	if s, ok := m.series.Load(key); ok {
		return s.(*series)
	}
	labels := []string{key.operation, r.Group, r.Resource}
	s := &series{m.requests.WithLabelValues(labels...), m.errors.WithLabelValues(labels...), m.took.WithLabelValues(labels...)}
	m.series.Store(key, s) // twice is no harm: a series is there once
	return s
}

// Describe implements prometheus.Collector.
func (m *Meter) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Collector{m.requests, m.errors, m.took} {
		c.Describe(ch)
	}
	ch <- eventsDesc
	ch <- receivedDesc
	ch <- sentDesc
	ch <- beganDesc
	ch <- capacityDesc
	ch <- versionDesc
	ch <- sizeDesc
	ch <- estimateDesc
}

// Collect implements prometheus.Collector.
func (m *Meter) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.requests, m.errors, m.took} {
		c.Collect(ch)
	}
	s := m.store.Load()
	if s == nil {
		return
	}
	for _, t := range s.Tally() {
		for _, d := range []*prometheus.Desc{eventsDesc, receivedDesc, sentDesc} { // what comes from the log is what watches are served from
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(t.Published), t.Resource.Group, t.Resource.Resource)
		}
		ch <- prometheus.MustNewConstMetric(beganDesc, prometheus.CounterValue, 1, t.Resource.Group, t.Resource.Resource) // there is no other cache to fall behind
		ch <- prometheus.MustNewConstMetric(capacityDesc, prometheus.GaugeValue, float64(t.Capacity), t.Resource.Group, t.Resource.Resource)
		ch <- prometheus.MustNewConstMetric(versionDesc, prometheus.GaugeValue, float64(t.Revision%versionDigits), t.Resource.Group, t.Resource.Resource)
		if m.hidden.Estimates {
			continue
		}
		ch <- prometheus.MustNewConstMetric(estimateDesc, prometheus.GaugeValue, float64(t.Size), t.Resource.Group, t.Resource.Resource)
	}
	if m.hidden.Size {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), sizeTimeout)
	defer cancel()
	for i, kept := range s.Stores() {
		if size, err := kept.Size(ctx); err == nil {
			ch <- prometheus.MustNewConstMetric(sizeDesc, prometheus.GaugeValue, float64(size), fmt.Sprint("etcd-", i)) // upstream's names
		}
	}
}
