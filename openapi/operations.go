package openapi

import (
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/catalogue"
	"clipper/openapi/mergetype"
)

// An operation is one verb on one path, before it is written in the form of v2 or v3.
type operation struct {
	path, method string
	id           string // operationId
	action       string // x-kubernetes-action
	group        string
	version      string
	kind         string // of the objects acted on
	namespaced   bool   // the path has {namespace}
	named        bool   // the path has {name}
	onward       bool   // the path ends with {path}: what is behind a proxy
	body         string // model of the request body, "" for none
	response     string // model of the response, "" for text
	query        []string
}

// Query parameters by verb, as upstream lists them.
var (
	writeQuery  = []string{"dryRun", "fieldManager", "fieldValidation"}
	patchQuery  = []string{"dryRun", "fieldManager", "fieldValidation", "force"}
	deleteQuery = []string{"dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents", "propagationPolicy"}
	listQuery   = []string{"allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch"}
)

const (
	metaModel   = "io.k8s.apimachinery.pkg.apis.meta.v1."
	patchModel  = metaModel + "Patch"
	statusModel = metaModel + "Status"
	deleteModel = metaModel + "DeleteOptions"
)

// operations lists what can be done to r in one of its groups and versions.
func operations(r *catalogue.Resource, group, version string, models map[string]string) []operation {
	b := opBuilder{r: r, group: group, version: version, models: models, base: basePath(group, version)}
	collection := b.base
	if r.Namespaced {
		collection += "/namespaces/{namespace}"
	}
	collection += "/" + r.Name
	item := collection + "/{name}"
	model := b.model(group, version, r.Kind)
	list := b.model(group, version, r.ListKind)

	b.add("list", "get", "list", collection, "", "", list, listQuery)
	b.addForAllNamespaces(list)
	b.add("create", "post", "post", collection, "", model, model, writeQuery)
	b.add("deletecollection", "delete", "deletecollection", collection, "", deleteModel, statusModel, append(deleteQuery[:len(deleteQuery):len(deleteQuery)], listQuery...))
	b.add("get", "get", "get", item, "", "", model, nil)
	b.add("update", "put", "put", item, "", model, model, writeQuery)
	b.add("patch", "patch", "patch", item, "", patchModel, model, patchQuery)
	b.add("delete", "delete", "delete", item, "", deleteModel, statusModel, deleteQuery)
	if r.Status != nil {
		b.addSubresource(item, "status", model, []string{"get", "update", "patch"})
	}
	if r.Scale != nil {
		b.addSubresource(item, "scale", b.model("autoscaling", "v1", "Scale"), []string{"get", "update", "patch"})
	}
	for _, s := range r.Subresources {
		if s.New == nil && s.Update == nil {
			b.addConnect(item, s)
			continue
		}
		g, v := s.Group, s.Version
		if v == "" {
			g, v = group, version
		}
		b.addSubresource(item, s.Name, b.model(g, v, s.Kind), s.Verbs)
	}
	return b.ops
}

func basePath(group, version string) string {
	if group == "" {
		return "/api/" + version
	}
	return "/apis/" + group + "/" + version
}

type opBuilder struct {
	r       *catalogue.Resource
	group   string
	version string
	models  map[string]string
	base    string
	ops     []operation
}

func (b *opBuilder) model(group, version, kind string) string {
	return b.models[group+"/"+version+"/"+kind]
}

func (b *opBuilder) serves(verb string) bool {
	if b.r.Verbs == nil {
		return true
	}
	for _, v := range b.r.Verbs {
		if v == verb {
			return true
		}
	}
	return false
}

func (b *opBuilder) add(verb, method, action, path, sub, body, response string, query []string) {
	if sub == "" && !b.serves(verb) {
		return
	}
	b.ops = append(b.ops, operation{
		path: path, method: method, action: action,
		id:    operationID(verb, b.r, b.group, b.version, sub),
		group: b.group, version: b.version, kind: b.r.Kind,
		namespaced: b.r.Namespaced, named: strings.Contains(path, "{name}"),
		body: body, response: response, query: query,
	})
}

func (b *opBuilder) addSubresource(item, name, model string, verbs []string) {
	path := item + "/" + name
	for _, verb := range verbs {
		switch verb {
		case "get":
			b.add(verb, "get", "get", path, name, "", model, nil)
		case "create":
			b.add(verb, "post", "post", path, name, model, model, writeQuery)
		case "update":
			b.add(verb, "put", "put", path, name, model, model, writeQuery)
		case "patch":
			b.add(verb, "patch", "patch", path, name, patchModel, model, patchQuery)
		case "delete":
			b.add(verb, "delete", "delete", path, name, deleteModel, statusModel, deleteQuery)
		}
	}
}

// addForAllNamespaces adds the list of a namespaced resource across namespaces.
func (b *opBuilder) addForAllNamespaces(list string) {
	if !b.r.Namespaced || !b.serves("list") {
		return
	}
	b.ops = append(b.ops, operation{
		path: b.base + "/" + b.r.Name, method: "get", action: "list",
		id:    "list" + apiName(b.group, b.version) + b.r.Kind + "ForAllNamespaces",
		group: b.group, version: b.version, kind: b.r.Kind, response: list, query: listQuery,
	})
}

// connectQuery lists what streams are asked for.
var connectQuery = map[string][]string{
	"exec":        {"command", "container", "stderr", "stdin", "stdout", "tty"},
	"attach":      {"container", "stderr", "stdin", "stdout", "tty"},
	"portforward": {"ports"},
	"proxy":       {"path"},
	"log":         {"container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "previous", "sinceSeconds", "stream", "tailLines", "timestamps"},
}

// addConnect adds a subresource that is a stream: its answer is text, or whatever is at its other end.
func (b *opBuilder) addConnect(item string, s catalogue.Subresource) {
	methods := map[string]string{"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
	for _, verb := range s.Verbs {
		method := methods[verb]
		o := operation{
			path: item + "/" + s.Name, method: method, action: "connect",
			id:    "connect" + apiName(b.group, b.version) + camel(method) + scoped(b.r) + camel(s.Name),
			group: b.group, version: b.version, kind: s.Kind,
			namespaced: b.r.Namespaced, named: true, query: connectQuery[s.Name],
		}
		if s.Name == "log" {
			o.action, o.id = "get", operationID("get", b.r, b.group, b.version, s.Name)
		}
		b.ops = append(b.ops, o)
		if s.Name == "proxy" {
			o.path, o.id, o.onward = o.path+"/{path}", o.id+"WithPath", true
			b.ops = append(b.ops, o)
		}
	}
}

// operationID builds upstream's names: readAppsV1NamespacedDeploymentStatus.
func operationID(verb string, r *catalogue.Resource, group, version, sub string) string {
	words := map[string]string{"get": "read", "update": "replace", "deletecollection": "delete"}
	id := verb
	if w, ok := words[verb]; ok {
		id = w
	}
	id += apiName(group, version)
	if verb == "deletecollection" {
		id += "Collection"
	}
	return id + scoped(r) + camel(sub)
}

// apiName is a group version as part of an operation's name: AppsV1.
func apiName(group, version string) string {
	group = strings.TrimSuffix(group, ".k8s.io")
	if group == "" {
		group = "core"
	}
	return camel(group) + camel(version)
}

func scoped(r *catalogue.Resource) string {
	if r.Namespaced {
		return "Namespaced" + r.Kind
	}
	return r.Kind
}

func camel(s string) string {
	var b strings.Builder
	upper := true
	for _, c := range s {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			upper = true
			continue
		}
		if upper {
			c = unicode.ToUpper(c)
		}
		upper = false
		b.WriteRune(c)
	}
	return b.String()
}

// gvk is the x-kubernetes-group-version-kind extension of an operation.
func (o operation) gvk() metav1.GroupVersionKind {
	return metav1.GroupVersionKind{Group: o.group, Version: o.version, Kind: o.kind}
}

// kindModels returns model names by mergetype.KindKey.
func kindModels() (map[string]string, error) {
	var file mergetype.File
	file, err := mergeTypes()
	return file.Kinds, err
}
