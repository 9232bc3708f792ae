package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
)

// serveOther answers paths that name no resource: discovery, health, version, metrics, OpenAPI.
func (q *request) serveOther() {
	path := q.info.Path
	switch q.r.Method {
	case http.MethodGet, http.MethodHead:
	default:
		if q.s.options.Extra[path] == nil {
			q.methodNotAllowed()
			return
		}
	}
	switch {
	case path == "/":
		q.paths()
	case path == "/version" || path == "/version/":
		q.version()
	case path == "/metrics":
		q.serveMetrics()
	case isHealth(path):
		q.health()
	case path == "/openapi/v2" || path == "/openapi/v3" || strings.HasPrefix(path, "/openapi/v3/"):
		q.delegate(q.s.options.OpenAPI)
	case q.info.Prefix == "api" || q.info.Prefix == "apis":
		q.discovery()
	default:
		q.delegate(q.s.options.Extra[path])
	}
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

// Unwrap lets http.ResponseController reach the connection.
func (r *codeRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (q *request) serveMetrics() {
	q.delegate(q.s.metrics.handler())
	for _, more := range q.s.options.Metrics {
		q.delegate(more)
	}
}

func (q *request) version() {
	body, err := json.MarshalIndent(q.s.options.Version, "", "  ")
	if err != nil {
		q.fail(err)
		return
	}
	q.writeBody(http.StatusOK, media{pretty: true}, body)
}

// paths lists what there is, for people.
func (q *request) paths() {
	paths := []string{"/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"}
	for _, g := range q.s.pipeline.Table().Groups {
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
	for _, name := range q.s.checks() {
		paths = append(paths, "/healthz/"+name, "/livez/"+name, "/readyz/"+name)
	}
	for path := range q.s.options.Extra {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	body, err := json.Marshal(map[string][]string{"paths": slices.Compact(paths)})
	if err != nil {
		q.fail(err)
		return
	}
	q.writeBody(http.StatusOK, media{pretty: true}, body)
}

func isHealth(path string) bool {
	for _, root := range []string{"/healthz", "/livez", "/readyz"} {
		if rest, ok := strings.CutPrefix(path, root); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// builtinChecks are the parts of health that the server answers for itself: that it answers at all.
var builtinChecks = []string{"ping"}

// checks lists all health checks in the order they are reported.
func (s *Server) checks() []string {
	names := slices.Clone(builtinChecks)
	extra := make([]string, 0, len(s.options.Checks))
	for name := range s.options.Checks {
		extra = append(extra, name)
	}
	sort.Strings(extra)
	return append(names, extra...)
}

// check runs one health check.
func (q *request) check(name string) error {
	switch {
	case name == "readiness" && !q.s.ready.Load():
		return fmt.Errorf("server is starting or stopping")
	case q.s.options.Checks[name] != nil:
		return q.s.options.Checks[name](q.r.Context())
	}
	return nil
}

// health answers /healthz, /livez and /readyz, whole or one part.
func (q *request) health() {
	root, part, single := strings.Cut(strings.TrimPrefix(q.info.Path, "/"), "/")
	names := q.s.checks()
	if root == "readyz" {
		names = append(names, "readiness")
	}
	if single && part != "" {
		if !slices.Contains(names, part) {
			q.notFound()
			return
		}
		names = []string{part}
	}
	q.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	q.w.Header().Set("X-Content-Type-Options", "nosniff")
	report, healthy := q.runChecks(names, root)
	_, verbose := q.query()["verbose"]
	switch {
	case !healthy:
		q.writeHeader(http.StatusInternalServerError)
		fmt.Fprint(q.w, report)
	case verbose:
		q.writeHeader(http.StatusOK)
		fmt.Fprintf(q.w, "%s%s check passed\n", report, root)
	default:
		q.writeHeader(http.StatusOK)
		fmt.Fprint(q.w, "ok")
	}
}

func (q *request) runChecks(names []string, root string) (report string, healthy bool) {
	var b strings.Builder
	healthy = true
	excluded := q.query()["exclude"]
	for _, name := range names {
		if slices.Contains(excluded, name) {
			fmt.Fprintf(&b, "[+]%s excluded: ok\n", name)
			continue
		}
		if err := q.check(name); err != nil {
			healthy = false
			q.s.log.Warn("health check failed", "check", name, "err", err)
			fmt.Fprintf(&b, "[-]%s failed: reason withheld\n", name)
			continue
		}
		fmt.Fprintf(&b, "[+]%s ok\n", name)
	}
	if !healthy {
		fmt.Fprintf(&b, "%s check failed\n", root)
	}
	return b.String(), healthy
}
