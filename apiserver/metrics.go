package apiserver

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the server's own, under upstream's names.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	running  prometheus.Gauge
	events   *prometheus.CounterVec
	series   sync.Map // seriesKey → *series
}

// A seriesKey is all that the labels of a request depend on.
type seriesKey struct {
	verb, group, version, resource, subresource, scope, dryRun string
	code                                                       int
}

type series struct {
	count prometheus.Counter
	took  prometheus.Observer
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total",
			Help: "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
		}, []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "apiserver_request_duration_seconds",
			Help:    "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60},
		}, []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "apiserver_longrunning_requests",
			Help: "Gauge of all active long-running apiserver requests.",
		}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_watch_events_total",
			Help: "Number of events sent in watch clients",
		}, []string{"group", "version", "resource"}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.running, m.events,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// observe counts a request that has been answered.
func (m *metrics) observe(q *request, start time.Time) {
	key := seriesKey{verb: verbLabel(&q.info), code: q.code, dryRun: q.dryRun()}
	if q.kind != nil {
		key.group, key.version, key.resource = q.info.Group, q.info.Version, q.info.Resource
		key.subresource, key.scope = q.info.Subresource, scope(&q.info)
	}
	if key.code == 0 {
		key.code = http.StatusOK
	}
	s := m.get(key)
	s.count.Inc()
	if key.verb != "WATCH" && key.verb != "CONNECT" {
		s.took.Observe(time.Since(start).Seconds())
	}
}

func (m *metrics) get(key seriesKey) *series {
	if s, ok := m.series.Load(key); ok {
		return s.(*series)
	}
	const component = "apiserver"
	s := &series{
		count: m.requests.WithLabelValues(key.verb, key.dryRun, key.group, key.version, key.resource, key.subresource, key.scope, component, strconv.Itoa(key.code)),
		took:  m.duration.WithLabelValues(key.verb, key.dryRun, key.group, key.version, key.resource, key.subresource, key.scope, component),
	}
	m.series.Store(key, s)
	return s
}

func scope(in *info) string {
	switch {
	case in.Name != "":
		return "resource"
	case in.Namespace != "":
		return "namespace"
	}
	return "cluster"
}

// verbLabel is never what a client made up.
func verbLabel(in *info) string {
	switch in.Verb {
	case "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "post", "put", "head", "options":
		return strings.ToUpper(in.Verb)
	}
	return "other"
}
