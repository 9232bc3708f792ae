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
	about        string // what it does
	action       string // x-kubernetes-action; "" for what is about no kind
	tag          string
	gvk          metav1.GroupVersionKind // of the objects acted on
	custom       bool                    // its kind is one that a user defined
	namespaced   bool                    // the path has {namespace}
	named        bool                    // the path has {name}
	onward       bool                    // the path ends with {path}: what is behind a proxy
	body         string                  // model of the request body, "" for none
	response     string                  // model of the response, "" for text
	media        []string                // what it speaks, both ways, where that does not follow from the rest
	produce      []string                // what it answers with, if it takes nothing
	query        []parameter
}

const (
	metaModel   = "io.k8s.apimachinery.pkg.apis.meta.v1."
	patchModel  = metaModel + "Patch"
	statusModel = metaModel + "Status"
	deleteModel = metaModel + "DeleteOptions"
	eventModel  = metaModel + "WatchEvent"
)

// operations lists what can be done to r in one of its groups and versions.
func operations(r *catalogue.Resource, group, version string, models map[string]string) []operation {
	b := opBuilder{
		r: r, group: group, version: version, models: models, base: basePath(group, version),
		api: apiName(group, version), tag: tagOf(group, version), article: article(r.Kind),
	}
	return b.operations()
}

// operations lists what can be done to b's resource.
func (b *opBuilder) operations() []operation {
	r, collection := b.r, b.base
	if r.Namespaced {
		collection += "/namespaces/{namespace}"
	}
	collection += "/" + r.Name
	item := collection + "/{name}"
	model := b.model(b.group, b.version, r.Kind)
	list := b.model(b.group, b.version, r.ListKind)

	deleted := statusModel
	if catalogue.ReturnsDeleted(r.GroupResource()) {
		deleted = model
	}
	b.add("list", "get", "list", collection, "", list, listQuery())
	b.addForAllNamespaces(list)
	b.add("create", "post", "post", collection, model, model, writeQuery())
	b.addDeleteCollection(collection)
	b.add("get", "get", "get", item, "", model, b.getQuery())
	b.add("update", "put", "put", item, model, model, writeQuery())
	b.add("patch", "patch", "patch", item, patchModel, model, patchQuery())
	b.add("delete", "delete", "delete", item, deleteModel, deleted, deleteQuery())
	b.addWatches(collection, item)
	if r.Status != nil {
		b.addSubresource(item, "status", b.gvk(), []string{"get", "update", "patch"})
	}
	if r.Scale != nil {
		b.addSubresource(item, "scale", metav1.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}, []string{"get", "update", "patch"})
	}
	for _, s := range r.Subresources {
		if s.New == nil && s.Update == nil {
			b.addConnect(item, s)
			continue
		}
		of := metav1.GroupVersionKind{Group: s.Group, Version: s.Version, Kind: s.Kind}
		if of.Version == "" {
			of.Group, of.Version = b.group, b.version
		}
		b.addSubresource(item, s.Name, of, s.Verbs)
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
	base    string // of all paths
	api     string // the group version as part of operations' names
	tag     string // and as what clients that are generated have in common
	article string // what is before the kind
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

func (b *opBuilder) gvk() metav1.GroupVersionKind {
	return metav1.GroupVersionKind{Group: b.group, Version: b.version, Kind: b.r.Kind}
}

// operation starts the description of one on a path of b's resource.
func (b *opBuilder) operation(method, action, path string) operation {
	return operation{
		path: path, method: method, action: action, tag: b.tag, gvk: b.gvk(), custom: b.r.Custom != nil,
		namespaced: strings.Contains(path, "{namespace}"), named: strings.Contains(path, "{name}"),
	}
}

func (b *opBuilder) add(verb, method, action, path, body, response string, query []parameter) {
	if !b.serves(verb) {
		return
	}
	o := b.operation(method, action, path)
	o.id, o.about = b.operationID(verb, ""), b.describe(verb, "")
	o.body, o.response, o.query = body, response, query
	b.ops = append(b.ops, o)
}

// addDeleteCollection adds the deletion of many. Of custom kinds, upstream's documents say that it takes what a list does.
func (b *opBuilder) addDeleteCollection(collection string) {
	body, query := deleteModel, append(deleteQuery(), collectionQuery()...)
	if b.r.Custom != nil {
		body, query = "", listQuery()
	}
	b.add("deletecollection", "delete", "deletecollection", collection, body, statusModel, query)
}

// getQuery is what a read takes. Of the server's own kinds, upstream's documents do not say.
func (b *opBuilder) getQuery() []parameter {
	if b.r.Custom == nil {
		return nil
	}
	return parametersOf(metav1.GetOptions{}.SwaggerDoc(), "resourceVersion")
}

func (b *opBuilder) addSubresource(item, name string, of metav1.GroupVersionKind, verbs []string) {
	model := b.model(of.Group, of.Version, of.Kind)
	for _, verb := range verbs {
		var o operation
		path := item + "/" + name
		switch verb {
		case "get":
			o = b.operation("get", "get", path)
			o.query = b.getQuery()
		case "create":
			o = b.operation("post", "post", path)
			o.body, o.query = model, writeQuery()
		case "update":
			o = b.operation("put", "put", path)
			o.body, o.query = model, writeQuery()
		case "patch":
			o = b.operation("patch", "patch", path)
			o.body, o.query = patchModel, patchQuery()
		default:
			continue
		}
		o.id, o.about = b.operationID(verb, name), b.describe(verb, name)
		o.response = model
		if !o.custom {
			o.gvk = of
		}
		b.ops = append(b.ops, o)
	}
}

// addForAllNamespaces adds the list of a namespaced resource across namespaces.
func (b *opBuilder) addForAllNamespaces(list string) {
	if !b.r.Namespaced || !b.serves("list") {
		return
	}
	o := b.operation("get", "list", b.base+"/"+b.r.Name)
	o.id, o.about = "list"+b.api+b.r.Kind+"ForAllNamespaces", b.describe("list", "")
	o.response, o.query = list, listQuery()
	b.ops = append(b.ops, o)
}

// addWatches adds the paths that were for watching before lists could do it. Custom resources came later.
func (b *opBuilder) addWatches(collection, item string) {
	if b.r.Custom != nil || !b.serves("watch") {
		return
	}
	add := func(action, path, id, about string) {
		o := b.operation("get", action, strings.Replace(path, b.base, b.base+"/watch", 1))
		o.id, o.about, o.response, o.query = "watch"+b.api+id, about, eventModel, listQuery()
		b.ops = append(b.ops, o)
	}
	const instead = ". deprecated: use the 'watch' parameter with a list operation instead"
	list := "watch individual changes to a list of " + b.r.Kind + instead + "."
	add("watchlist", collection, scoped(b.r)+"List", list)
	if b.serves("get") {
		add("watch", item, scoped(b.r), "watch changes to an object of kind "+b.r.Kind+instead+", filtered to a single item with the 'fieldSelector' parameter.")
	}
	if b.r.Namespaced {
		add("watchlist", b.base+"/"+b.r.Name, b.r.Kind+"ListForAllNamespaces", list)
	}
}

// describe says what a verb does, in upstream's words.
func (b *opBuilder) describe(verb, sub string) string {
	kind, the := b.r.Kind, "the specified "
	if sub != "" {
		the = sub + " of " + the
	}
	switch verb {
	case "list":
		if b.serves("watch") && b.r.Custom == nil {
			verb = "list or watch"
		}
		return verb + " objects of kind " + kind
	case "deletecollection":
		return "delete collection of " + kind
	case "create", "delete":
		if sub != "" {
			return verb + " " + sub + " of" + b.article + kind
		}
		return verb + b.article + kind
	case "get":
		return "read " + the + kind
	case "update":
		return "replace " + the + kind
	}
	return "partially update " + the + kind
}

// article is what upstream puts before a noun: it takes some for plurals.
func article(noun string) string {
	switch {
	case strings.HasSuffix(noun, "s") && !strings.HasSuffix(noun, "ss"):
		return " "
	case strings.ContainsRune("AEIOU", rune(noun[0])):
		return " an "
	}
	return " a "
}

// proxyMethods are what a proxy passes on, those among them that no verb stands for.
var proxyMethods = []string{"head", "options"}

// addConnect adds a subresource that is a stream: its answer is text, or whatever is at its other end.
func (b *opBuilder) addConnect(item string, s catalogue.Subresource) {
	byVerb := map[string]string{"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
	var methods []string
	for _, verb := range s.Verbs {
		methods = append(methods, byVerb[verb])
	}
	if s.Name == "proxy" {
		methods = append(methods, proxyMethods...)
	}
	for _, method := range methods {
		o := b.operation(method, "connect", item+"/"+s.Name)
		o.id = "connect" + b.api + camel(method) + scoped(b.r) + camel(s.Name)
		o.about = "connect " + strings.ToUpper(method) + " requests to " + s.Name + " of " + b.r.Kind
		o.gvk.Kind, o.query = s.Kind, connectQuery(s)
		if s.Name == "log" {
			o.action, o.id, o.about = "get", b.operationID("get", s.Name), b.describe("get", s.Name)
		}
		b.ops = append(b.ops, o)
		if s.Name == "proxy" {
			o.path, o.id, o.onward = o.path+"/{path}", o.id+"WithPath", true
			b.ops = append(b.ops, o)
		}
	}
}

// operationID builds upstream's names: readAppsV1NamespacedDeploymentStatus.
func (b *opBuilder) operationID(verb, sub string) string {
	words := map[string]string{"get": "read", "update": "replace", "deletecollection": "delete"}
	id := verb
	if w, ok := words[verb]; ok {
		id = w
	}
	id += b.api
	if verb == "deletecollection" {
		id += "Collection"
	}
	return id + scoped(b.r) + camel(sub)
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

// kindModels returns model names by mergetype.KindKey.
func kindModels() (map[string]string, error) {
	var file mergetype.File
	file, err := mergeTypes()
	return file.Kinds, err
}
