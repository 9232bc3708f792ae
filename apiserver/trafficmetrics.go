package apiserver

import (
	"github.com/prometheus/client_golang/prometheus"

	"clipper/apiserver/pipeline"
)

// trafficMetrics count how much requests carry, under upstream's names: its watch cache is what the store holds in memory.
type trafficMetrics struct {
	bodies                   *prometheus.HistogramVec
	lists, fetched, returned *prometheus.CounterVec
	initial, overtaken       *prometheus.CounterVec
}

// A traffic is what one request carries.
type traffic struct {
	received int // bytes of the body
	read     bool
	list     bool
	looked   int // at objects, for the list
	returned int
}

// trafficSeries are those of the requests that share their labels; nil: they carry no such thing.
type trafficSeries struct {
	body                     prometheus.Observer
	lists, fetched, returned prometheus.Counter
}

func newTrafficMetrics(m *metrics) trafficMetrics {
	return trafficMetrics{
		bodies:    m.histogram("request_body_size_bytes", "Apiserver request body size in bytes broken out by resource and verb.", prometheus.LinearBuckets(50000, 100000, 31), "group", "resource", "verb"),
		lists:     m.counter("cache_list_total", "Number of LIST requests served from watch cache", "group", "resource", "index"),
		fetched:   m.counter("cache_list_fetched_objects_total", "Number of objects read from watch cache in the course of serving a LIST request", "group", "resource", "index"),
		returned:  m.counter("cache_list_returned_objects_total", "Number of objects returned for a LIST request from watch cache", "group", "resource"),
		initial:   m.counter("init_events_total", "Counter of init events processed in watch cache broken by resource type.", "group", "resource"),
		overtaken: m.counter("terminated_watchers_total", "Counter of watchers closed due to unresponsiveness broken by resource type.", "group", "resource"),
	}
}

// series returns what requests with the labels of key are counted by.
func (m *trafficMetrics) series(key seriesKey) trafficSeries {
	verb := key.bodyVerb()
	switch {
	case key.resource == "":
		return trafficSeries{}
	case verb != "":
		return trafficSeries{body: m.bodies.WithLabelValues(key.group, key.resource, verb)}
	case key.verb != "LIST":
		return trafficSeries{}
	}
	const index = "" // none is used
	return trafficSeries{lists: m.lists.WithLabelValues(key.group, key.resource, index), fetched: m.fetched.WithLabelValues(key.group, key.resource, index),
		returned: m.returned.WithLabelValues(key.group, key.resource)}
}

// observe counts what a request carried.
func (s *trafficSeries) observe(t *traffic) {
	if t.read && s.body != nil {
		s.body.Observe(float64(t.received))
	}
	if t.list && s.lists != nil {
		s.lists.Inc()
		s.fetched.Add(float64(t.looked))
		s.returned.Add(float64(t.returned))
	}
}

// listed notes the list that a request is answered with.
func (t *traffic) listed(l *pipeline.List) {
	t.list, t.looked, t.returned = true, l.Looked, len(l.Items)
}

// began counts the objects that a watch began with.
func (m *trafficMetrics) began(q *request, objects int) {
	if objects > 0 {
		m.initial.WithLabelValues(q.info.Group, q.info.Resource).Add(float64(objects))
	}
}

// overtook counts a watch that was too slow for what happened.
func (m *trafficMetrics) overtook(q *request) {
	m.overtaken.WithLabelValues(q.info.Group, q.info.Resource).Inc()
}

// bodyVerb is the label of requests whose bodies are counted, "" for others. Upstream's words.
func (k seriesKey) bodyVerb() string {
	switch k.verb {
	case "POST":
		return "create"
	case "PUT":
		return "update"
	case "PATCH", "APPLY":
		return "patch"
	case "DELETE":
		if k.scope != "resource" {
			return "delete_collection"
		}
		return "delete"
	}
	return ""
}
