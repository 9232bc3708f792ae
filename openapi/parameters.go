package openapi

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/catalogue"
)

// A parameter is one of a request's query, or of its path.
type parameter struct{ name, about string }

// parametersOf describes some fields of a kind of options as the kind itself does.
func parametersOf(docs map[string]string, names ...string) []parameter {
	out := make([]parameter, len(names))
	for i, n := range names {
		out[i] = parameter{n, docs[n]}
	}
	return out
}

func writeQuery() []parameter {
	return parametersOf(metav1.CreateOptions{}.SwaggerDoc(), "dryRun", "fieldManager", "fieldValidation")
}

func patchQuery() []parameter {
	return parametersOf(metav1.PatchOptions{}.SwaggerDoc(), "dryRun", "fieldManager", "fieldValidation", "force")
}

func deleteQuery() []parameter {
	return parametersOf(metav1.DeleteOptions{}.SwaggerDoc(), "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents", "propagationPolicy")
}

func listQuery() []parameter {
	return append(parametersOf(metav1.ListOptions{}.SwaggerDoc(), "allowWatchBookmarks", "watch"), collectionQuery()...)
}

// collectionQuery is what chooses objects of a collection.
func collectionQuery() []parameter {
	return parametersOf(metav1.ListOptions{}.SwaggerDoc(), "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
		"resourceVersionMatch", "sendInitialEvents", "shardSelector", "timeoutSeconds")
}

// connectQuery is what a stream is asked for.
func connectQuery(s catalogue.Subresource) []parameter {
	switch s.Name {
	case "exec":
		return parametersOf(corev1.PodExecOptions{}.SwaggerDoc(), "command", "container", "stderr", "stdin", "stdout", "tty")
	case "attach":
		return parametersOf(corev1.PodAttachOptions{}.SwaggerDoc(), "container", "stderr", "stdin", "stdout", "tty")
	case "portforward":
		return parametersOf(corev1.PodPortForwardOptions{}.SwaggerDoc(), "ports")
	case "log":
		return parametersOf(corev1.PodLogOptions{}.SwaggerDoc(), "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes",
			"previous", "sinceSeconds", "stream", "tailLines", "timestamps")
	}
	docs := corev1.PodProxyOptions{}.SwaggerDoc()
	switch s.Kind {
	case "ServiceProxyOptions":
		docs = corev1.ServiceProxyOptions{}.SwaggerDoc()
	case "NodeProxyOptions":
		docs = corev1.NodeProxyOptions{}.SwaggerDoc()
	}
	return parametersOf(docs, "path")
}

// booleans and integers name the query parameters that are no strings.
var (
	booleans = []string{"allowWatchBookmarks", "force", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents", "sendInitialEvents", "watch",
		"follow", "insecureSkipTLSVerifyBackend", "previous", "stderr", "stdin", "stdout", "timestamps", "tty"}
	integers = []string{"gracePeriodSeconds", "limit", "limitBytes", "ports", "sinceSeconds", "tailLines", "timeoutSeconds"}
)

func (p parameter) kind() string {
	switch {
	case slices.Contains(booleans, p.name):
		return "boolean"
	case slices.Contains(integers, p.name):
		return "integer"
	}
	return "string"
}

const prettyDoc = "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget)."

// parameters lists path and query parameters; wrap renders a type in the form of a version.
func (o operation) parameters(wrap func(p map[string]any, kind string)) []map[string]any {
	var out []map[string]any
	add := func(p parameter, in string, required bool) {
		r := map[string]any{"name": p.name, "in": in, "uniqueItems": true}
		if p.about != "" {
			r["description"] = p.about
		}
		if required {
			r["required"] = true
		}
		wrap(r, p.kind())
		out = append(out, r)
	}
	if o.named {
		add(parameter{"name", "name of the " + o.gvk.Kind}, "path", true)
	}
	if o.namespaced {
		add(parameter{"namespace", "object name and auth scope, such as for teams and projects"}, "path", true)
	}
	if o.onward {
		add(parameter{"path", "path to the resource"}, "path", true)
	}
	for _, q := range o.query {
		add(q, "query", false)
	}
	if o.action != "connect" && o.action != "" {
		add(parameter{"pretty", prettyDoc}, "query", false)
	}
	return out
}
