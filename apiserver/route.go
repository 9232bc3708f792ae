package apiserver

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What is said here is said before any handler sees the request: that there is no such path, that it does not
// have the method, that it does not speak the media type. Upstream has a router for built-in kinds, which words
// this in its own way, and a handler for custom resources, which words it in another.

// routeError is a refusal in the words of upstream's router.
func routeError(code int, text string) error {
	return apierrors.NewGenericServerResponse(code, "", schema.GroupResource{}, "", text, 0, false)
}

// refusal says why the request has no route; nil if it has one.
func (q *request) refusal() error {
	if q.kind.Custom != nil {
		return q.customRefusal()
	}
	methods := q.methods()
	switch {
	case len(methods) == 0:
		return routeError(http.StatusNotFound, "")
	case !slices.Contains(methods, q.r.Method):
		return routeError(http.StatusMethodNotAllowed, "")
	case q.r.Method == http.MethodPatch && !q.isConnect() && !slices.Contains(q.mediaTypes().patches, strings.TrimSpace(q.contentType())):
		return routeError(http.StatusUnsupportedMediaType, "415: Unsupported Media Type")
	}
	return q.unacceptable()
}

// customRefusal is what upstream's handler of custom resources answers.
func (q *request) customRefusal() error {
	in := &q.info
	gr := q.kind.GVR.GroupResource()
	switch {
	case !q.kind.Namespaced && in.Namespace != "", q.kind.Namespaced && in.Namespace == "" && in.Verb != "list" && in.Verb != "watch":
		return errPlainNotFound
	case in.Subresource != "" && !q.hasShared(in.Subresource):
		return apierrors.NewNotFound(gr, in.Name)
	case in.Subresource == "" && !q.kind.Allows(in.Verb), in.Subresource != "" && !slices.Contains(sharedVerbs, in.Verb):
		return apierrors.NewMethodNotSupported(gr, in.Verb)
	}
	return nil
}

// errPlainNotFound asks for the answer of a server that knows nothing of the path.
var errPlainNotFound = routeError(http.StatusNotFound, "404 page not found")

// sharedVerbs are those of subresources that show their parent, or a part of it that has a kind of its own.
var sharedVerbs = []string{"get", "update", "patch"}

// hasShared says whether the kind has a status or scale subresource of that name.
func (q *request) hasShared(sub string) bool {
	return sub == "status" && q.kind.Status != nil || sub == "scale" && q.kind.Scale != nil
}

// Methods of HTTP by the verbs they stand for, of an object and of a collection.
var (
	itemMethods       = [...][2]string{{"get", "GET"}, {"update", "PUT"}, {"patch", "PATCH"}, {"delete", "DELETE"}, {"create", "POST"}}
	collectionMethods = [...][2]string{{"list", "GET"}, {"create", "POST"}, {"deletecollection", "DELETE"}}
	proxyMethods      = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
	streamMethods     = []string{"GET", "POST"}
	readMethods       = []string{"GET"}
)

// methods lists those that the path has; there is no path where it has none.
func (q *request) methods() []string {
	in, k := &q.info, q.kind
	everywhere := k.Namespaced && in.Namespace == ""
	switch {
	case in.Verb == "proxy", !k.Namespaced && in.Namespace != "" && in.Resource != "namespaces", everywhere && in.Name != "":
		return nil
	case in.deprecatedWatch:
		if !k.Allows("watch") || in.Subresource != "" {
			return nil
		}
		return readMethods
	case in.Subresource != "":
		return q.subresourceMethods()
	case in.Name != "":
		return methodsFor(itemMethods[:len(itemMethods)-1], k.Allows)
	case everywhere:
		return methodsFor(collectionMethods[:1], k.Allows)
	}
	return methodsFor(collectionMethods[:], k.Allows)
}

func (q *request) subresourceMethods() []string {
	in := &q.info
	switch {
	case in.Subresource == "proxy" && q.isConnect():
		return proxyMethods
	case in.Rest != "":
		return nil
	case in.Subresource == "log" && q.isConnect():
		return readMethods
	case q.isConnect():
		return streamMethods
	case q.hasShared(in.Subresource):
		return methodsFor(itemMethods[:], func(verb string) bool { return slices.Contains(sharedVerbs, verb) })
	}
	sub := q.kind.Subresource(in.Subresource)
	if sub == nil {
		return nil
	}
	return methodsFor(itemMethods[:], func(verb string) bool { return slices.Contains(sub.Verbs, verb) })
}

func methodsFor(all [][2]string, allows func(verb string) bool) []string {
	out := make([]string, 0, len(all))
	for _, m := range all {
		if allows(m[0]) {
			out = append(out, m[1])
		}
	}
	return out
}

// contentType is what a body says it is, without parameters.
func (q *request) contentType() string {
	t, _, _ := strings.Cut(q.r.Header.Get("Content-Type"), ";")
	return t
}

// unacceptable refuses an Accept header that names nothing the path produces. Parameters are the handlers'
// business, and so is quality.
func (q *request) unacceptable() error {
	accept := q.r.Header.Get("Accept")
	switch accept {
	case "", "*/*", typeJSON, typeProtobuf, "application/json, */*", "application/vnd.kubernetes.protobuf,application/json":
		return nil
	}
	produces := q.produces()
	if produces == nil {
		return nil
	}
	for clause := range strings.SplitSeq(accept, ",") {
		kind, _, _ := strings.Cut(clause, ";")
		if kind = strings.TrimSpace(kind); kind == "*/*" || slices.Contains(produces, kind) {
			return nil
		}
	}
	return routeError(http.StatusNotAcceptable, "406: Not Acceptable\n\nAvailable representations: "+strings.Join(produces, ", "))
}

// produces lists the media types that the path answers in; nil: any.
func (q *request) produces() []string {
	in := &q.info
	switch {
	case in.Subresource == "log" && q.isConnect():
		return q.mediaTypes().logs
	case q.isConnect():
		return nil
	case (in.Verb == "list" || in.Verb == "watch") && q.kind != nil && q.kind.Allows("watch"):
		return q.mediaTypes().lists
	}
	return q.mediaTypes().objects
}

// builtin says whether the path is in a group of built-in kinds, whose router it is then that answers.
func (q *request) builtin() bool {
	if q.info.Prefix == "api" {
		return true
	}
	for _, g := range q.s.pipeline.Table().Groups {
		if g.Name == q.info.Group && q.info.Prefix == "apis" {
			return g.Versions[0].Kinds[0].Custom == nil
		}
	}
	return false
}

// successors name what took the place of API groups and versions that Kubernetes once served. They are not
// in discovery; a client that still asks is told where to go.
var successors = map[string]string{
	"extensions/v1beta1":                "networking.k8s.io/v1 (Ingress, NetworkPolicy) or apps/v1 (Deployment, DaemonSet, ReplicaSet)",
	"apps/v1beta1":                      "apps/v1",
	"apps/v1beta2":                      "apps/v1",
	"networking.k8s.io/v1beta1":         "networking.k8s.io/v1",
	"policy/v1beta1":                    "policy/v1; pod security policies gave way to the pod-security.kubernetes.io labels of namespaces",
	"batch/v1beta1":                     "batch/v1",
	"rbac.authorization.k8s.io/v1beta1": "rbac.authorization.k8s.io/v1",
}

func (q *request) notFound() {
	if successor := successors[q.info.Group+"/"+q.info.Version]; successor != "" {
		q.fail(&apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
			Message: fmt.Sprintf("%s/%s is no longer served; use %s", q.info.Group, q.info.Version, successor),
		}})
		return
	}
	if q.builtin() {
		q.fail(routeError(http.StatusNotFound, ""))
		return
	}
	q.plainNotFound()
}

func (q *request) plainNotFound() {
	q.code, q.wrote = http.StatusNotFound, true
	http.NotFound(q.w, q.r)
}

func (q *request) methodNotAllowed() { q.fail(routeError(http.StatusMethodNotAllowed, "")) }
