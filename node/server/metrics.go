package server

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"

	"clipper/node/runtime"
)

// exposition writes metrics in Prometheus' text format.
type exposition struct{ w io.Writer }

func (e exposition) head(name, kind, help string) {
	fmt.Fprintf(e.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// value writes one sample; labels are pairs of name and value. A zero time leaves the time stamp out.
func (e exposition) value(name string, v float64, at time.Time, labels ...string) {
	var b strings.Builder
	b.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		fmt.Fprintf(&b, `%s%s="%s"`, sep, labels[i], escaper.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		b.WriteString("}")
	}
	fmt.Fprintf(&b, " %v", v)
	if !at.IsZero() {
		fmt.Fprintf(&b, " %d", at.UnixMilli())
	}
	fmt.Fprintln(e.w, b.String())
}

func contentType(w http.ResponseWriter) exposition {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	return exposition{w}
}

// resourceMetrics answers /metrics/resource, which metrics-server reads.
func (s *Server) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	e := contentType(w)
	usages := s.collect(r.Context())
	each := func(fn func(u usage, c containerUsage, labels []string)) {
		for _, u := range usages {
			for _, c := range u.containers {
				fn(u, c, []string{"container", c.name, "namespace", u.pod.Namespace, "pod", u.pod.Name})
			}
		}
	}
	e.head("container_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the container in core-seconds")
	each(func(_ usage, c containerUsage, l []string) {
		e.value("container_cpu_usage_seconds_total", c.stats.CPUUsage.Seconds(), c.stats.At, l...)
	})
	e.head("container_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the container in bytes")
	each(func(_ usage, c containerUsage, l []string) {
		e.value("container_memory_working_set_bytes", float64(c.stats.MemoryWorkingSet), c.stats.At, l...)
	})
	e.head("container_start_time_seconds", "gauge", "[STABLE] Start time of the container since unix epoch in seconds")
	each(func(_ usage, c containerUsage, l []string) {
		e.value("container_start_time_seconds", float64(c.started.UnixNano())/1e9, time.Time{}, l...)
	})
	n := nodeStats(time.Now())
	e.head("node_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds")
	e.value("node_cpu_usage_seconds_total", n.CPUUsage.Seconds(), n.At)
	e.head("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes")
	e.value("node_memory_working_set_bytes", float64(n.MemoryWorkingSet), n.At)
	s.podTotals(e, usages)
	e.head("resource_scrape_error", "gauge", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise")
	e.value("resource_scrape_error", 0, time.Time{})
}

func (s *Server) podTotals(e exposition, usages []usage) {
	e.head("pod_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds")
	for _, u := range usages {
		if u.hasSandbox {
			e.value("pod_cpu_usage_seconds_total", u.sandbox.CPUUsage.Seconds(), u.sandbox.At, "namespace", u.pod.Namespace, "pod", u.pod.Name)
		}
	}
	e.head("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes")
	for _, u := range usages {
		if u.hasSandbox {
			e.value("pod_memory_working_set_bytes", float64(u.sandbox.MemoryWorkingSet), u.sandbox.At, "namespace", u.pod.Namespace, "pod", u.pod.Name)
		}
	}
}

// cadvisorMetrics answers /metrics/cadvisor with the series that dashboards are built on.
func (s *Server) cadvisorMetrics(w http.ResponseWriter, r *http.Request) {
	e := contentType(w)
	usages := s.collect(r.Context())
	for _, m := range []struct {
		name, kind, help string
		of               func(runtime.Stats) float64
	}{
		{"container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", func(s runtime.Stats) float64 { return s.CPUUsage.Seconds() }},
		{"container_memory_usage_bytes", "gauge", "Current memory usage in bytes, including all memory regardless of when it was accessed", func(s runtime.Stats) float64 { return float64(s.MemoryUsage) }},
		{"container_memory_working_set_bytes", "gauge", "Current working set in bytes.", func(s runtime.Stats) float64 { return float64(s.MemoryWorkingSet) }},
		{"container_memory_rss", "gauge", "Size of RSS in bytes.", func(s runtime.Stats) float64 { return float64(s.MemoryRSS) }},
		{"container_processes", "gauge", "Number of processes running inside the container.", func(s runtime.Stats) float64 { return float64(s.Pids) }},
		{"container_fs_usage_bytes", "gauge", "Number of bytes that are consumed by the container on this filesystem.", func(s runtime.Stats) float64 { return float64(s.RootfsUsed) }},
	} {
		e.head(m.name, m.kind, m.help)
		for _, u := range usages {
			for _, c := range u.containers {
				image := ""
				if spec := findContainer(u.pod, c.name); spec != nil {
					image = spec.Image
				}
				e.value(m.name, m.of(c.stats), c.stats.At, "container", c.name, "image", image, "namespace", u.pod.Namespace, "pod", u.pod.Name)
			}
		}
	}
}

// metrics answers /metrics: counts of the node's own, and those of the process.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	pods, containers := 0, map[string]int{}
	for _, p := range s.cfg.Pods() {
		obj, st := p.Status()
		if st.Phase == corev1.PodRunning {
			pods++
		}
		for i := range obj.Spec.Containers {
			if cur, _ := p.Container(obj.Spec.Containers[i].Name); cur != nil {
				containers[map[runtime.State]string{runtime.Created: "created", runtime.Running: "running", runtime.Exited: "exited"}[cur.State]]++
			}
		}
	}
	reg := prometheus.NewRegistry()
	running := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubelet_running_pods", Help: "[ALPHA] Number of pods that have a running pod sandbox"})
	running.Set(float64(pods))
	states := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubelet_running_containers", Help: "[ALPHA] Number of containers currently running"}, []string{"container_state"})
	for state, n := range containers {
		states.WithLabelValues(state).Set(float64(n))
	}
	name := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubelet_node_name", Help: "[ALPHA] The node's name. The count is always 1."}, []string{"node"})
	name.WithLabelValues(s.cfg.Node().Name).Set(1)
	reg.MustRegister(running, states, name)
	promhttp.HandlerFor(prometheus.Gatherers{prometheus.DefaultGatherer, reg}, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}
