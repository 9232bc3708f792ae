package server

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"clipper/api/containers"
	"clipper/node/manifests"
	"clipper/node/runtime"
)

// metrics are those of the server's own requests.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
}

func newMetrics() *metrics {
	labels := []string{"method", "path", "server_type", "long_running"}
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_http_requests_total",
			Help: "[ALPHA] Number of the http requests received since the server started"}, labels),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_http_requests_duration_seconds", Buckets: prometheus.DefBuckets,
			Help: "[ALPHA] Duration in seconds to serve http requests"}, labels),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubelet_http_inflight_requests",
			Help: "[ALPHA] Number of the inflight http requests"}, labels),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.requests.Collect(ch)
	m.duration.Collect(ch)
	m.inFlight.Collect(ch)
}

// observe counts a request; what it returns is to be called at the request's end.
func (m *metrics) observe(r *http.Request, server string) func() {
	method := r.Method
	switch method {
	case http.MethodOptions, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodTrace, http.MethodConnect:
	default:
		method = "other"
	}
	path := bucket(r.URL.Path)
	labels := []string{method, path, server, strconv.FormatBool(longRunning[path])}
	start := time.Now()
	m.requests.WithLabelValues(labels...).Inc()
	m.inFlight.WithLabelValues(labels...).Inc()
	return func() {
		m.inFlight.WithLabelValues(labels...).Dec()
		m.duration.WithLabelValues(labels...).Observe(time.Since(start).Seconds())
	}
}

var (
	longRunning = map[string]bool{"exec": true, "attach": true, "portForward": true, "debug": true}
	buckets     = map[string]bool{
		"run": true, "exec": true, "attach": true, "portForward": true, "containerLogs": true, "configz": true, "runningpods": true,
		"checkpoint": true, "debug": true, "flagz": true, "healthz": true, "logs": true, "pods": true, "stats": true, "statusz": true,
		"metrics": true, "metrics/cadvisor": true, "metrics/probes": true, "metrics/resource": true,
	}
)

// bucket is what a path is counted as, so that callers cannot make up ever more series.
func bucket(path string) string {
	path = strings.Trim(path, "/")
	first, _, _ := strings.Cut(path, "/")
	if first == "metrics" && buckets[path] {
		return path
	}
	if buckets[first] {
		return first
	}
	return "other"
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, "[ALPHA] "+help, labels, nil)
}

var (
	nodeName          = describe("kubelet_node_name", "The node's name. The count is always 1.", "node")
	runningPods       = describe("kubelet_running_pods", "Number of pods that have a running pod sandbox")
	runningContainers = describe("kubelet_running_containers", "Number of containers currently running", "container_state")
	desiredPods       = describe("kubelet_desired_pods", "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.", "static")
	activePods        = describe("kubelet_active_pods", "The number of pods the kubelet considers active and which are being considered when admitting new pods. static is true if the pod is not from the apiserver.", "static")
	mirrorPods        = describe("kubelet_mirror_pods", "The number of mirror pods the kubelet will try to create (one per admitted static pod)")
	ephemeral         = describe("kubelet_managed_ephemeral_containers", "Current number of ephemeral containers in pods managed by this kubelet.")
)

// nodeMetrics counts pods and containers when it is asked.
type nodeMetrics struct{ *Server }

// Describe implements prometheus.Collector. Which series there are is known when they are collected.
func (nodeMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m nodeMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	c := m.count()
	gauge(nodeName, 1, m.cfg.NodeName)
	gauge(runningPods, c.running)
	for state, n := range c.containers {
		gauge(runningContainers, n, state)
	}
	for static, label := range map[bool]string{false: "", true: "true"} {
		gauge(desiredPods, c.desired[static], label)
		gauge(activePods, c.active[static], label)
	}
	gauge(mirrorPods, c.desired[true])
	gauge(ephemeral, c.ephemeral)
	if m.cfg.Stats != nil {
		m.volumes(ch)
	}
}

// counts are what a node's pods add up to.
type counts struct {
	running, ephemeral int
	containers         map[string]int // by state
	desired, active    map[bool]int   // by whether they are static
}

var stateNames = map[runtime.State]string{runtime.Created: "created", runtime.Running: "running", runtime.Exited: "exited"}

func (m nodeMetrics) count() counts {
	c := counts{containers: map[string]int{}, desired: map[bool]int{}, active: map[bool]int{}}
	for _, p := range m.cfg.Pods() {
		obj, st := p.Status()
		static := manifests.IsStatic(obj)
		c.desired[static]++
		if st.Phase != corev1.PodSucceeded && st.Phase != corev1.PodFailed {
			c.active[static]++
		}
		if st.Phase == corev1.PodRunning {
			c.running++
		}
		c.ephemeral += len(obj.Spec.EphemeralContainers)
		for container := range containers.Of(&obj.Spec) {
			if cur, _ := p.Container(container.Name); cur != nil {
				c.containers[stateNames[cur.State]]++
			}
		}
	}
	return c
}

// volumeStats are the figures of claims, by what they are in the summary.
var volumeStats = []struct {
	desc *prometheus.Desc
	of   func(*statsapi.VolumeStats) *uint64
}{
	{volumeDesc("capacity_bytes", "Capacity in bytes of the volume"), func(v *statsapi.VolumeStats) *uint64 { return v.CapacityBytes }},
	{volumeDesc("available_bytes", "Number of available bytes in the volume"), func(v *statsapi.VolumeStats) *uint64 { return v.AvailableBytes }},
	{volumeDesc("used_bytes", "Number of used bytes in the volume"), func(v *statsapi.VolumeStats) *uint64 { return v.UsedBytes }},
	{volumeDesc("inodes", "Maximum number of inodes in the volume"), func(v *statsapi.VolumeStats) *uint64 { return v.Inodes }},
	{volumeDesc("inodes_free", "Number of free inodes in the volume"), func(v *statsapi.VolumeStats) *uint64 { return v.InodesFree }},
	{volumeDesc("inodes_used", "Number of used inodes in the volume"), func(v *statsapi.VolumeStats) *uint64 { return v.InodesUsed }},
}

func volumeDesc(name, help string) *prometheus.Desc {
	return describe("kubelet_volume_stats_"+name, help, "namespace", "persistentvolumeclaim")
}

// volumes tells what claims hold; two pods may use the same one.
func (m nodeMetrics) volumes(ch chan<- prometheus.Metric) {
	told := map[statsapi.PVCReference]bool{}
	for _, p := range m.cfg.Pods() {
		obj, _ := p.Status()
		for _, v := range m.cfg.Stats.Volumes(obj.UID) {
			if v.PVCRef == nil || told[*v.PVCRef] {
				continue
			}
			told[*v.PVCRef] = true
			for _, s := range volumeStats {
				if n := s.of(&v); n != nil {
					ch <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, float64(*n), v.PVCRef.Namespace, v.PVCRef.Name)
				}
			}
		}
	}
}
