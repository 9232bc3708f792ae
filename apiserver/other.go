package apiserver

import (
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"sort"
	"strings"
)

// serveOther answers paths that name no resource: discovery, health, version, metrics, OpenAPI.
func (q *request) serveOther() {
	path := q.info.Path
	foreign := q.s.foreign(path)
	if path == "/metrics" && q.r.Method == http.MethodDelete && q.s.options.Profiling {
		foreign = q.s.metrics
	}
	if q.r.Method != http.MethodGet && q.inRouter() {
		q.methodNotAllowed()
		return
	}
	switch {
	case foreign != nil:
		q.delegate(foreign)
	case path == "/" || path == "/index.html":
		q.listPaths()
	case path == "/version" || path == "/version/":
		q.version()
	case path == "/metrics":
		q.delegate(q.s.scrape())
	case path == "/metrics/slis":
		q.delegate(q.s.metrics.health.handler())
	case isHealth(path):
		q.health()
	case path == "/openapi/v2" || path == "/openapi/v3" || strings.HasPrefix(path, "/openapi/v3/"):
		q.delegate(q.s.options.OpenAPI)
	case q.info.Prefix == "api" || q.info.Prefix == "apis":
		q.discovery()
	default:
		q.delegate(nil)
	}
}

// inRouter says whether upstream's router knows the path: there it can be read, and nothing else. What answers at other
// paths does not look at the method.
func (q *request) inRouter() bool {
	switch path := strings.TrimSuffix(q.info.Path, "/"); path {
	case "/api", "/version":
		return true
	case "/api/" + q.info.Version, "/apis/" + q.info.Group + "/" + q.info.Version:
		return q.builtin() && q.s.pipeline.Table().Find(q.info.Group, q.info.Version) != nil
	}
	return q.s.options.Extra[q.info.Path] != nil && !strings.HasPrefix(q.info.Path, unlisted)
}

// foreign returns the handler of a path that answers for itself; nil: there is none.
func (s *Server) foreign(path string) http.Handler {
	if h := s.options.Extra[path]; h != nil {
		return h
	}
	if s.options.Fairness != nil && strings.HasPrefix(path, "/debug/api_priority_and_fairness/") {
		return s.options.Fairness.Handlers()[path]
	}
	if h := s.debugPath(path); h != nil {
		return h
	}
	return s.page(path)
}

func (q *request) delegate(h http.Handler) {
	if h == nil {
		q.notFound()
		return
	}
	rec := &codeRecorder{ResponseWriter: q.w}
	h.ServeHTTP(rec, q.r)
	q.code, q.wrote = rec.code, true
}

// A codeRecorder remembers the code that a foreign handler answered with, for the metrics.
type codeRecorder struct {
	http.ResponseWriter
	code int
}

func (r *codeRecorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *codeRecorder) Write(b []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *codeRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (q *request) version() {
	body, err := json.MarshalIndent(q.s.options.Version, "", "  ")
	if err != nil {
		q.fail(err)
		return
	}
	q.writeBody(http.StatusOK, media{pretty: true}, body)
}

// listPaths says what there is.
func (q *request) listPaths() {
	body, err := json.Marshal(map[string][]string{"paths": q.s.paths()})
	if err != nil {
		q.fail(err)
		return
	}
	q.writeBody(http.StatusOK, media{pretty: true}, body)
}

// unlisted is where the server's own paths are that clients of Kubernetes do not expect.
const unlisted = "/clipper/"

// paths lists what there is, for people. What is below /debug upstream does not show either.
func (s *Server) paths() []string {
	paths := []string{"/api", "/apis", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/statusz", "/version"}
	if s.options.Flags != nil {
		paths = append(paths, "/flagz")
	}
	for _, g := range s.pipeline.Table().Groups {
		prefix := "/apis/" + g.Name
		if g.Name == "" {
			prefix = "/api"
		} else {
			paths = append(paths, prefix)
		}
		for _, v := range g.Versions {
			paths = append(paths, prefix+"/"+v.Name)
		}
	}
	for _, e := range s.extensions().List() {
		paths = append(paths, path.Dir(e.Path()), e.Path())
	}
	for _, root := range healthRoots {
		paths = append(paths, "/"+root)
		for _, c := range s.checks(root) {
			paths = append(paths, "/"+root+"/"+c.name)
		}
	}
	for extra := range s.options.Extra {
		if !strings.HasPrefix(extra, unlisted) {
			paths = append(paths, extra)
		}
	}
	sort.Strings(paths)
	return slices.Compact(paths)
}
