package apiserver

import (
	"net/http"
	"strings"
)

// An info is what a request's path and method say. It mirrors upstream's RequestInfo, which authorization
// rules and webhooks are written against.
type info struct {
	Path       string
	Verb       string // get, list, watch, create, …; for paths outside the API the lower-case method
	IsResource bool

	Prefix, Group, Version string
	Namespace              string
	Resource, Name         string
	Subresource            string
	Rest                   string // what follows the subresource, with its leading slash; proxies use it
	deprecatedWatch        bool   // /api/v1/watch/…
	incomplete             bool   // /api/v1/watch: of what?
}

// namespaceSubresource says whether what follows a namespace is a part of it, and no resource within it.
func namespaceSubresource(s string) bool { return s == "status" || s == "finalize" }

// next cuts the first segment off a path without leading slash.
func next(path string) (segment, rest string) {
	segment, rest, _ = strings.Cut(path, "/")
	return segment, rest
}

// parseInfo reads a request. It allocates nothing for an ordinary resource path.
func parseInfo(r *http.Request) info {
	in := info{Path: r.URL.Path, Verb: strings.ToLower(r.Method)}
	rest := strings.Trim(in.Path, "/")
	in.Prefix, rest = next(rest)
	switch in.Prefix {
	case "api":
	case "apis":
		in.Group, rest = next(rest)
	default:
		return in
	}
	in.Version, rest = next(rest)
	if rest == "" {
		return in // discovery
	}
	in.IsResource = true
	in.Verb = verbOf(r.Method)
	if first, after := next(rest); first == "watch" || first == "proxy" {
		in.Verb, in.deprecatedWatch, in.incomplete = first, first == "watch", after == ""
		rest = after
	}
	in.resource(rest)
	in.refine(r)
	return in
}

func verbOf(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodGet, http.MethodHead:
		return "get"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return ""
}

// resource reads the part of the path behind the version.
func (in *info) resource(rest string) {
	first, after := next(rest)
	if first == "namespaces" && after != "" {
		var inner string
		in.Namespace, inner = next(after)
		if sub, _ := next(inner); inner != "" && !namespaceSubresource(sub) {
			first, after = next(inner)
		}
	}
	in.Resource = first
	in.Name, after = next(after)
	if after == "" || in.Verb == "proxy" { // whatever follows there is the proxied path
		return
	}
	in.Subresource, after = next(after)
	if after != "" {
		in.Rest = "/" + after
	}
	if strings.HasSuffix(in.Path, "/") && in.Subresource == "proxy" {
		in.Rest += "/"
	}
}

// refine tells reads and deletes of collections from those of objects.
func (in *info) refine(r *http.Request) {
	if in.Name != "" {
		return
	}
	switch in.Verb {
	case "get":
		in.Verb = "list"
		if wantsWatch(r) {
			in.Verb = "watch"
		}
	case "delete":
		in.Verb = "deletecollection"
	}
}

// wantsWatch reads the watch parameter as upstream's conversion does: anything but false or 0 means yes.
func wantsWatch(r *http.Request) bool {
	if !strings.Contains(r.URL.RawQuery, "watch") {
		return false
	}
	values, ok := r.URL.Query()["watch"]
	if !ok || len(values) == 0 {
		return false
	}
	switch strings.ToLower(values[0]) {
	case "false", "0":
		return false
	}
	return true
}
