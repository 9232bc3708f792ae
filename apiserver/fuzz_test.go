package apiserver

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzParseInfo: no path makes the parser panic, and what it finds is part of the path.
func FuzzParseInfo(f *testing.F) {
	for _, path := range []string{
		"/", "/api/v1", "/api/v1/pods", "/api/v1/namespaces/default/pods/p/log", "/apis/apps/v1/namespaces/d/deployments/x/scale",
		"/api/v1/watch/namespaces/x/pods/y", "/api/v1/namespaces/x/finalize", "/api/v1/namespaces/x/services/http:s:80/proxy/a//b/",
		"//api//v1//", "/apis//v1/x", "/api/v1/proxy",
	} {
		f.Add("GET", path, "watch=1")
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}}
		in := parseInfo(r)
		for _, part := range []string{in.Group, in.Version, in.Namespace, in.Resource, in.Name, in.Subresource} {
			if !strings.Contains(path, part) || strings.Contains(part, "/") {
				t.Errorf("%q: part %q", path, part)
			}
		}
		if in.IsResource && in.Version == "" && in.Resource == "" {
			t.Errorf("%q is a resource request without resource", path)
		}
	})
}

func FuzzNegotiate(f *testing.F) {
	f.Add("application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	f.Add("application/vnd.kubernetes.protobuf;stream=watch;;=,*/*")
	f.Fuzz(func(t *testing.T, accept string) {
		r := &http.Request{URL: &url.URL{}, Header: http.Header{"Accept": {accept}}}
		for _, can := range []targets{plainOnly, tables, customs} {
			if m, ok := negotiate(r, can); ok && can == plainOnly && m.target.kind != "" {
				t.Errorf("%q: a target where none can be made", accept)
			}
		}
		wantsAggregated(r)
	})
}

func FuzzSplitTarget(f *testing.F) {
	f.Add("https:web:443")
	f.Add("a:b:c:d")
	f.Fuzz(func(t *testing.T, s string) {
		if _, name, _, ok := splitTarget(s); ok && name == "" {
			t.Errorf("%q: no name", s)
		}
	})
}

func TestNegotiate(t *testing.T) {
	for accept, want := range map[string]media{
		"":                                 {format: formatJSON},
		"application/yaml;q=0.5,*/*;q=0.1": {format: formatYAML},
		"text/html,application/json;q=0.9": {format: formatJSON},
		"application/vnd.kubernetes.protobuf, application/json":               {format: formatProtobuf},
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json":       {target: target{"Table", "v1"}},
		"application/json;as=Unheard;v=v1;g=meta.k8s.io,application/yaml":     {format: formatYAML},
		"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,*/*": {format: formatJSON},
	} {
		r := &http.Request{URL: &url.URL{}, Header: http.Header{"Accept": {accept}}}
		if got, ok := negotiate(r, tables); !ok || got != want {
			t.Errorf("%q: %+v %v, want %+v", accept, got, ok, want)
		}
	}
}
