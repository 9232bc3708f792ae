package server

import (
	"net/http"
	"os"
	"sync"

	"clipper/api/containers"

	"k8s.io/apiserver/pkg/server/flagz"
	"k8s.io/apiserver/pkg/server/statusz"
)

// pages are /statusz and /flagz. They are upstream's own, and made when somebody first looks.
type pages struct {
	once sync.Once
	mux  *http.ServeMux
}

// served are the paths that /statusz lists.
var served = []string{"/attach", "/checkpoint", "/configz", "/containerLogs", "/debug/pprof", "/exec", "/flagz", "/healthz", "/logs", "/metrics",
	"/metrics/cadvisor", "/metrics/probes", "/metrics/resource", "/metrics/slis", "/pods", "/portForward", "/run", "/runningpods", "/stats", "/statusz"}

func (s *Server) page() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.pages.once.Do(func() {
			const component = "kubelet"
			s.pages.mux = http.NewServeMux()
			flagz.Install(s.pages.mux, component, flags(s.cfg.Flags))
			statusz.Install(s.pages.mux, component, statusz.NewRegistry(nil, statusz.WithListedPaths(served)))
		})
		s.pages.mux.ServeHTTP(w, r)
	})
}

// flags shows the flags that the process was started with.
type flags func() map[string]string

// GetFlagz implements flagz.Reader.
func (f flags) GetFlagz() map[string]string { return f() }

// systemLogs shows the machine's logs. Links that lead out of their directory are not followed.
func (s *Server) systemLogs() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		root, err := os.OpenRoot(s.cfg.SystemLogs)
		if err != nil {
			http.Error(w, "404 page not found", http.StatusNotFound)
			return
		}
		defer root.Close()
		http.StripPrefix("/logs/", http.FileServerFS(root.FS())).ServeHTTP(w, r)
	})
}

// checkpoint answers for a runtime that cannot take the state of a container out of it.
func (s *Server) checkpoint(w http.ResponseWriter, r *http.Request) {
	_, obj, ok := s.find(w, r)
	if !ok {
		return
	}
	name := r.PathValue("container")
	if containers.Named(&obj.Spec, name) == nil {
		http.Error(w, "container "+name+" does not exist", http.StatusNotFound)
		return
	}
	http.Error(w, "checkpointing of "+obj.Namespace+"/"+obj.Name+"/"+name+" failed (rpc error: code = Unimplemented desc = method CheckpointContainer not implemented)",
		http.StatusInternalServerError)
}
