package apiserver

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/component-base/metrics/legacyregistry"

	"clipper/apiserver/served"
)

// metrics are the server's own, under upstream's names.
type metrics struct {
	registry     *prometheus.Registry
	requests     *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	sli          *prometheus.HistogramVec
	sizes        *prometheus.HistogramVec
	longRunning  *prometheus.GaugeVec
	terminations *prometheus.CounterVec
	aborts       *prometheus.CounterVec
	own          *prometheus.CounterVec
	events       eventMetrics
	handshakes   prometheus.Counter
	watchLists   *prometheus.HistogramVec
	deprecated   *prometheus.GaugeVec
	traffic      trafficMetrics
	identity     identityMetrics
	health       healthMetrics

	series    sync.Map     // seriesKey → *series
	resetting sync.RWMutex // held shared while a series is made, so that none outlives a reset
	forgets   []interface{ Reset() }
}

// A seriesKey is all that the labels of a request depend on.
type seriesKey struct {
	verb, group, version, resource, subresource, scope, dryRun string
	code                                                       int
}

type series struct {
	count prometheus.Counter
	took  prometheus.Observer
	sli   prometheus.Observer
	size  prometheus.Observer // nil: not a read

	traffic trafficSeries

	deprecated prometheus.Gauge // nil: it is not
}

const component = "apiserver"

// Buckets and label sets of several metrics. Upstream's.
var (
	sliBuckets     = []float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}
	requestBuckets = []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}

	watchListBuckets = []float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2, 4, 6, 8, 10, 15, 20, 30, 45, 60}

	requestLabels = []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"}
	targetLabels  = []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}
)

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), identity: newIdentityMetrics(), health: newHealthMetrics()}
	m.requests = m.counter("request_total", "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.", append(requestLabels[:8:8], "code")...)
	m.duration = m.histogram("request_duration_seconds", "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.", requestBuckets, requestLabels...)
	m.sli = m.histogram("request_sli_duration_seconds", "Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.", sliBuckets, targetLabels...)
	m.sizes = m.histogram("response_sizes", "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.", prometheus.ExponentialBuckets(1000, 10, 7), targetLabels...)
	m.longRunning = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_longrunning_requests", Help: "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way."}, targetLabels)
	m.terminations = m.counter("request_terminations_total", "Number of requests which apiserver terminated in self-defense.", append(targetLabels[:7:7], "code")...)
	m.aborts = m.counter("request_aborts_total", "Number of requests which apiserver aborted possibly due to a timeout, for each group, version, verb, resource, subresource and scope", targetLabels[:6]...)
	m.own = m.counter("selfrequest_total", "Counter of apiserver self-requests broken out for each verb, API resource and subresource.", "verb", "group", "resource", "subresource")
	m.handshakes = prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_tls_handshake_errors_total", Help: "Number of requests dropped with 'TLS handshake error from' error"})
	m.watchLists = m.histogram("watch_list_duration_seconds", "Response latency distribution in seconds for watch list requests broken by group, version, resource and scope.", watchListBuckets, "group", "version", "resource", "scope")
	m.deprecated = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_requested_deprecated_apis", Help: "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release."}, []string{"group", "version", "resource", "subresource", "removed_release"})
	m.registry.MustRegister(m.deprecated, m.longRunning, &m.events, m.handshakes, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.traffic = newTrafficMetrics(m)
	m.registry.MustRegister(m.identity.all()...)
	m.forgets = append(m.forgets, m.deprecated, &m.events)
	return m
}

func (m *metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_" + name, Help: help}, labels)
	m.registry.MustRegister(vec)
	m.forgets = append(m.forgets, vec)
	return vec
}

func (m *metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_" + name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(vec)
	m.forgets = append(m.forgets, vec)
	return vec
}

// observe counts a request that has been answered. Those that were turned away before anybody looked what
// they are about are not counted, as upstream.
func (m *metrics) observe(q *request, now time.Time) {
	if !q.routed {
		return
	}
	key := q.seriesKey()
	key.code = q.code
	if key.code == 0 {
		key.code = http.StatusOK
	}
	s := m.get(key, q.kind)
	s.count.Inc()
	if q.user != nil && q.user.GetName() == user.APIServerUser {
		m.own.WithLabelValues(key.verb, key.group, key.resource, key.subresource).Inc()
	}
	if s.deprecated != nil {
		s.deprecated.Set(1)
	}
	if key.code == http.StatusTooManyRequests && q.kind == nil {
		return // rejected: its latency says nothing
	}
	took := now.Sub(q.start)
	s.took.Observe(took.Seconds())
	if key.dryRun == "" {
		s.sli.Observe((took - q.seat.Waited).Seconds())
	}
	if s.size != nil {
		s.size.Observe(float64(q.size))
	}
	s.traffic.observe(&q.traffic)
}

func (m *metrics) get(key seriesKey, kind *served.Kind) *series {
	if s, ok := m.series.Load(key); ok {
		return s.(*series)
	}
	m.resetting.RLock()
	defer m.resetting.RUnlock()
	target := key.target()
	labels := append([]string{key.verb, key.dryRun}, target[1:]...)
	s := &series{
		count: m.requests.WithLabelValues(append(labels, strconv.Itoa(key.code))...),
		took:  m.duration.WithLabelValues(labels...),
		sli:   m.sli.WithLabelValues(target...),
	}
	if key.verb == "GET" || key.verb == "LIST" {
		s.size = m.sizes.WithLabelValues(target...)
	}
	if kind != nil && (kind.Deprecated != "" || kind.Custom != nil && kind.Custom.Deprecated != "") {
		s.deprecated = m.deprecated.WithLabelValues(key.group, key.version, key.resource, key.subresource, removedIn(kind))
	}
	s.traffic = m.traffic.series(key)
	m.series.Store(key, s)
	return s
}

// ServeHTTP answers DELETE of /metrics, which makes what was counted begin anew. What runs at the moment is not
// forgotten: it will be counted down when it ends.
func (m *metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	m.resetting.Lock()
	defer m.resetting.Unlock()
	m.series.Clear()
	for _, vec := range m.forgets {
		vec.Reset()
	}
	legacyregistry.Reset()
	_, _ = io.WriteString(w, "metrics reset\n") // the client may have gone
}

// removedIn is the release that a kind will be gone in, "" if that is not decided.
func removedIn(kind *served.Kind) string {
	if of, ok := kind.Empty().(interface{ APILifecycleRemoved() (major, minor int) }); ok {
		major, minor := of.APILifecycleRemoved()
		return fmt.Sprintf("%d.%d", major, minor)
	}
	return ""
}

// listed notes that a watch has sent its initial state.
func (m *metrics) listed(q *request, now time.Time) {
	key := q.seriesKey()
	m.watchLists.WithLabelValues(key.group, key.version, key.resource, key.scope).Observe(now.Sub(q.start).Seconds())
}

// target are the values of targetLabels.
func (k seriesKey) target() []string {
	return []string{k.verb, k.group, k.version, k.resource, k.subresource, k.scope, component}
}

// terminated counts a request that the server ended in self-defence.
func (m *metrics) terminated(q *request, code int) {
	m.terminations.WithLabelValues(append(q.seriesKey().target(), strconv.Itoa(code))...).Inc()
}

// aborted counts a request whose connection was cut.
func (m *metrics) aborted(q *request) {
	m.aborts.WithLabelValues(q.seriesKey().target()[:6]...).Inc()
}

// seriesKey names what the request is about. What a client made up does not become a label.
func (q *request) seriesKey() seriesKey {
	in := &q.info
	key := seriesKey{scope: in.scope(), dryRun: q.dryRun()}
	key.verb = q.verbLabel(key.scope)
	switch {
	case q.kind != nil:
		key.group, key.version, key.resource, key.subresource = in.Group, in.Version, in.Resource, in.Subresource
		if key.subresource != "" && !isConnect(in.Group, in.Resource, key.subresource) && key.subresource != "status" &&
			key.subresource != "scale" && q.kind.Subresource(key.subresource) == nil {
			key.subresource = ""
		}
	case isHealth(in.Path):
		key.subresource = "/" + healthRoot(in.Path)
	}
	return key
}

func (in *info) scope() string {
	switch {
	case in.Name != "" || in.Verb == "create":
		return "resource"
	case in.Namespace != "":
		return "namespace"
	case in.IsResource:
		return "cluster"
	}
	return ""
}

// verbLabel is the method, with reads, watches, applies and streams told apart.
func (q *request) verbLabel(scope string) string {
	switch {
	case q.info.IsResource && isConnect(q.info.Group, q.info.Resource, q.info.Subresource):
		return "CONNECT"
	case q.info.Verb == "watch":
		return "WATCH"
	}
	switch q.r.Method {
	case http.MethodGet, http.MethodHead:
		if scope != "resource" && scope != "" {
			return "LIST"
		}
		return "GET"
	case http.MethodPatch:
		if strings.HasPrefix(q.r.Header.Get("Content-Type"), string(types.ApplyPatchType)) {
			return "APPLY"
		}
		return "PATCH"
	case http.MethodPost, http.MethodPut, http.MethodDelete:
		return q.r.Method
	}
	return "other"
}

// dryRun is the metrics' label: upstream's one value, or none.
func (q *request) dryRun() string {
	if !strings.Contains(q.r.URL.RawQuery, "dryRun") {
		return ""
	}
	asked := q.query()["dryRun"]
	if len(validation.ValidateDryRun(nil, asked)) > 0 {
		return "invalid"
	}
	if len(asked) > 0 {
		return asked[0]
	}
	return ""
}
