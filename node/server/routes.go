package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	goruntime "runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/node/kubeletconfig"
)

// installReading adds the paths that only read. They are on the read-only port as well.
func (s *Server) installReading(mux *http.ServeMux) {
	s.installHealth(mux)
	mux.HandleFunc("GET /pods", s.pods)
	mux.HandleFunc("GET /stats/summary", s.summary)
	mux.Handle("GET /metrics", s.exposed(append([]prometheus.Collector{nodeMetrics{s}, s.metrics}, s.cfg.Collectors...), prometheus.DefaultGatherer))
	mux.Handle("GET /metrics/resource", s.exposed([]prometheus.Collector{s.cfg.Stats.Resource()}))
	mux.Handle("GET /metrics/cadvisor", s.exposed([]prometheus.Collector{s.cfg.Stats.Cadvisor(s.cfg.Machine)}))
	mux.Handle("GET /metrics/probes", s.exposed(s.cfg.Probes))
	mux.Handle("/metrics/slis", s.health.metrics())
}

// exposed serves metrics.
func (s *Server) exposed(collectors []prometheus.Collector, more ...prometheus.Gatherer) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors...)
	return promhttp.HandlerFor(append(prometheus.Gatherers{reg}, more...), promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// installDebugging adds the paths by which more is done than reading.
func (s *Server) installDebugging(mux *http.ServeMux) {
	c := s.cfg.Settings
	mux.HandleFunc("GET /runningpods/{$}", s.runningPods)
	mux.HandleFunc("GET /containerLogs/{ns}/{pod}/{container}", s.logs)
	for _, m := range []string{"GET ", "POST "} {
		for path, h := range map[string]http.HandlerFunc{"exec/{ns}/{pod}/{container}": s.exec, "exec/{ns}/{pod}/{uid}/{container}": s.exec,
			"attach/{ns}/{pod}/{container}": s.attach, "attach/{ns}/{pod}/{uid}/{container}": s.attach,
			"portForward/{ns}/{pod}": s.portForward, "portForward/{ns}/{pod}/{uid}": s.portForward} {
			mux.HandleFunc(m+"/"+path, h)
		}
	}
	mux.HandleFunc("POST /run/{ns}/{pod}/{container}", s.run)
	mux.HandleFunc("POST /run/{ns}/{pod}/{uid}/{container}", s.run)
	mux.HandleFunc("POST /checkpoint/{ns}/{pod}/{container}", s.checkpoint)
	mux.HandleFunc("GET /configz", s.configz)
	mux.Handle("GET /logs/", allowed(*c.EnableSystemLogHandler, "logs endpoint is disabled.", s.systemLogs()))
	mux.Handle("GET /debug/pprof/", allowed(*c.EnableProfilingHandler, "profiling endpoint is disabled.", profiles()))
	if c.EnableContentionProfiling && *c.EnableProfilingHandler {
		goruntime.SetBlockProfileRate(1)
	}
	mux.Handle("GET /statusz", s.page())
	mux.Handle("GET /flagz", s.page())
}

// allowed is h, or where the settings do not allow that, an answer that says so.
func allowed(ok bool, otherwise string, h http.Handler) http.Handler {
	if ok {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, otherwise, http.StatusMethodNotAllowed)
	})
}

// refuseDebugging answers for what installDebugging would have added.
func (s *Server) refuseDebugging(mux *http.ServeMux) {
	h := allowed(false, "Debug endpoints are disabled.", nil)
	for _, path := range []string{"run", "exec", "attach", "portForward", "containerLogs", "runningpods", "debug/pprof", "logs"} {
		mux.Handle("/"+path+"/", h)
	}
}

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// configz tells the settings that are in force.
func (s *Server) configz(w http.ResponseWriter, _ *http.Request) {
	settings := *s.cfg.Settings
	settings.TypeMeta = metav1.TypeMeta{} // upstream leaves it out
	writeJSON(w, map[string]*kubeletconfig.Configuration{"kubeletconfig": &settings})
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	brief := false
	switch v := r.FormValue("only_cpu_and_memory"); v {
	case "", "false":
	case "true":
		brief = true
	default:
		http.Error(w, fmt.Sprintf("invalid value %q of only_cpu_and_memory", v), http.StatusBadRequest)
		return
	}
	writeJSON(w, s.cfg.Stats.Summary(r.Context(), brief))
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := podList()
	for _, p := range s.cfg.Pods() {
		obj, st := p.Status()
		out := *obj
		out.Status = st
		list.Items = append(list.Items, out)
	}
	writeJSON(w, list)
}

// runningPods tells what the runtime runs: names and images, nothing of what was wanted.
func (s *Server) runningPods(w http.ResponseWriter, _ *http.Request) {
	list := podList()
	for _, p := range s.cfg.Pods() {
		obj, st := p.Status()
		if st.Phase != corev1.PodRunning {
			continue
		}
		out := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: obj.Name, Namespace: obj.Namespace, UID: obj.UID}}
		for _, c := range st.ContainerStatuses {
			if c.State.Running != nil {
				out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Name: c.Name, Image: c.ImageID})
			}
		}
		list.Items = append(list.Items, out)
	}
	writeJSON(w, list)
}

func podList() corev1.PodList {
	return corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b) //nolint:errcheck // the caller has gone
}
