package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/apiserver/pipeline"
)

// writeTimeout bounds a write. Upstream's figure.
const writeTimeout = 34 * time.Second

// serveResource answers a request for a kind that is served.
func (q *request) serveResource() {
	if q.info.Subresource != "" {
		q.serveSubresource()
		return
	}
	if !q.allowed() {
		q.methodNotAllowed()
		return
	}
	switch q.info.Verb {
	case "get":
		q.get()
	case "list":
		q.list()
	case "watch":
		q.watch()
	case "create":
		q.create(q.kind.Empty(), q.kind.GVK)
	case "update":
		q.update()
	case "patch":
		q.patch()
	case "delete":
		q.delete()
	case "deletecollection":
		q.deleteCollection()
	default:
		q.methodNotAllowed()
	}
}

// allowed says whether the method exists on the path: objects of a namespaced kind are only written
// within a namespace, and create has no name in its path.
func (q *request) allowed() bool {
	in := &q.info
	if !q.kind.Allows(in.Verb) {
		return false
	}
	switch in.Verb {
	case "list", "watch":
		return true
	case "create", "deletecollection":
		return in.Name == "" && (in.Namespace != "" || !q.kind.Namespaced)
	}
	return in.Name != "" && (in.Namespace != "" || !q.kind.Namespaced)
}

func (q *request) methodNotAllowed() {
	q.code, q.wrote = http.StatusMethodNotAllowed, true
	q.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	q.w.WriteHeader(http.StatusMethodNotAllowed)
	_, _ = q.w.Write([]byte("405: Method Not Allowed"))
}

func (q *request) get() {
	version := ""
	if q.r.URL.RawQuery != "" {
		version = q.query().Get("resourceVersion")
	}
	item, err := q.s.pipeline.GetNotOlder(q.r.Context(), q.pipelineRequest(), version)
	if err != nil {
		q.fail(err)
		return
	}
	q.writeItem(http.StatusOK, item)
}

func (q *request) list() {
	o, err := q.listOptions()
	if err != nil {
		q.fail(err)
		return
	}
	list, err := q.s.pipeline.List(q.r.Context(), q.pipelineRequest(), o)
	if err != nil {
		q.fail(err)
		return
	}
	q.writeList(list)
}

// create reads a body of kind gvk into obj and hands it on. obj is of the served version.
func (q *request) create(obj api.Object, gvk schema.GroupVersionKind) {
	o, err := q.createOptions()
	if err != nil {
		q.fail(err)
		return
	}
	if _, ok := q.media(); !ok {
		return
	}
	if err := q.read(obj, gvk, o.FieldValidation); err != nil {
		q.fail(err)
		return
	}
	if gvk == q.kind.GVK {
		if obj, err = q.kind.ToHub(obj); err != nil {
			q.fail(err)
			return
		}
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), writeTimeout)
	defer cancel()
	res, err := q.s.pipeline.Create(ctx, q.pipelineRequest(), obj, o)
	if err != nil {
		q.fail(err)
		return
	}
	q.writeResult(http.StatusCreated, res)
}

func (q *request) read(obj runtime.Object, gvk schema.GroupVersionKind, validation string) error {
	body, err := q.readBody()
	if err != nil {
		return err
	}
	return q.decode(body, obj, gvk, validation)
}

func (q *request) update() {
	o, err := q.updateOptions()
	if err != nil {
		q.fail(err)
		return
	}
	if _, ok := q.media(); !ok {
		return
	}
	obj, gvk := q.kind.Empty(), q.kind.GVK
	if q.info.Subresource == "scale" {
		obj, gvk = &autoscalingv1.Scale{}, scaleKind
	}
	if err := q.read(obj, gvk, o.FieldValidation); err != nil {
		q.fail(err)
		return
	}
	if gvk == q.kind.GVK {
		if obj, err = q.kind.ToHub(obj); err != nil {
			q.fail(err)
			return
		}
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), writeTimeout)
	defer cancel()
	res, err := q.s.pipeline.Update(ctx, q.pipelineRequest(), obj, o)
	q.writeUpdate(res, err)
}

func (q *request) writeUpdate(res *pipeline.Result, err error) {
	switch {
	case err != nil:
		q.fail(err)
	case res.Created:
		q.writeResult(http.StatusCreated, res)
	default:
		q.writeResult(http.StatusOK, res)
	}
}

// patchTypes are what a PATCH may say it carries.
var patchTypes = []string{
	string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyPatchType),
}

func (q *request) patch() {
	contentType, _, _ := strings.Cut(q.r.Header.Get("Content-Type"), ";")
	pt := types.PatchType(strings.TrimSpace(contentType))
	switch pt {
	case types.JSONPatchType, types.MergePatchType, types.ApplyPatchType:
	case types.StrategicMergePatchType:
		if q.kind.Custom != nil { // only Go types say how lists are merged
			q.fail(unsupportedMediaType(string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyPatchType)))
			return
		}
	default:
		q.fail(unsupportedMediaType(patchTypes...))
		return
	}
	if _, ok := q.media(); !ok {
		return
	}
	body, err := q.readBody()
	if err != nil {
		q.fail(err)
		return
	}
	o, err := q.patchOptions(pt)
	if err != nil {
		q.fail(err)
		return
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), writeTimeout)
	defer cancel()
	res, err := q.s.pipeline.Patch(ctx, q.pipelineRequest(), pt, body, o)
	q.writeUpdate(res, err)
}

func (q *request) delete() {
	if _, ok := q.media(); !ok {
		return
	}
	o, err := q.deleteOptions()
	if err != nil {
		q.fail(err)
		return
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), writeTimeout)
	defer cancel()
	res, err := q.s.pipeline.Delete(ctx, q.pipelineRequest(), o)
	if err != nil {
		q.fail(err)
		return
	}
	code := http.StatusOK
	if !res.Gone && o.OrphanDependents != nil && !*o.OrphanDependents {
		code = http.StatusAccepted
	}
	q.writeResult(code, res)
}

func (q *request) deleteCollection() {
	which, err := q.listOptions()
	if err != nil {
		q.fail(err)
		return
	}
	if _, ok := q.media(); !ok {
		return
	}
	o, err := q.deleteOptions()
	if err != nil {
		q.fail(err)
		return
	}
	items, err := q.s.pipeline.DeleteCollection(q.r.Context(), q.pipelineRequest(), o, which)
	if err != nil {
		q.fail(err)
		return
	}
	q.writeList(&pipeline.List{Items: items, Revision: q.s.pipeline.Revision()})
}

// writeResult answers with what a write left behind.
func (q *request) writeResult(code int, res *pipeline.Result) {
	switch obj := res.Object.(type) {
	case *metav1.Status:
		c := *obj // a Status may be shared
		if c.Code == 0 && code == http.StatusCreated {
			c.Code = int32(code)
		}
		q.writeOther(code, &c, statusKind)
	case *autoscalingv1.Scale:
		q.writeOther(code, obj, scaleKind)
	default:
		switch {
		case res.Item != nil && res.Item.Object == res.Object:
			q.writeItem(code, res.Item)
		case q.sameKind(res.Object):
			q.writeHub(code, res.Object.(api.Object))
		default:
			q.writeOther(code, obj, q.bodyKind())
		}
	}
}

// sameKind says whether the answer is the resource itself rather than a subresource's own kind.
func (q *request) sameKind(obj runtime.Object) bool {
	if _, ok := obj.(api.Object); !ok {
		return false
	}
	sub := q.kind.Subresource(q.info.Subresource)
	return q.info.Subresource == "" || q.info.Subresource == "status" || sub != nil && sub.Update != nil
}

// bodyKind is the kind of a subresource's body.
func (q *request) bodyKind() schema.GroupVersionKind {
	sub := q.kind.Subresource(q.info.Subresource)
	if sub == nil {
		return q.kind.GVK
	}
	gvk := schema.GroupVersionKind{Group: sub.Group, Version: sub.Version, Kind: sub.Kind}
	if gvk.Version == "" {
		gvk.Group, gvk.Version = q.kind.GVK.Group, q.kind.GVK.Version
	}
	return gvk
}

// writeOther answers with an object of another kind than the resource's.
func (q *request) writeOther(code int, obj runtime.Object, gvk schema.GroupVersionKind) {
	if m, ok := q.media(); ok {
		m.target = target{}
		q.writeObject(code, m, obj, gvk)
	}
}

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

// serveSubresource answers a request for a part of an object.
func (q *request) serveSubresource() {
	in := &q.info
	name := in.Subresource
	sub := q.kind.Subresource(name)
	switch {
	case in.Namespace == "" && q.kind.Namespaced:
		q.notFound()
	case name == "status" && q.kind.Status != nil, sub != nil && sub.Update != nil:
		q.serveShared()
	case name == "scale" && q.kind.Scale != nil:
		q.serveScale()
	case isConnect(in.Group, in.Resource, name):
		q.connect()
	case sub != nil && sub.New != nil && in.Verb == "create":
		body, ok := sub.New().(api.Object)
		if !ok {
			q.methodNotAllowed()
			return
		}
		q.create(body, q.bodyKind())
	case sub != nil:
		q.methodNotAllowed()
	default:
		q.notFound()
	}
}

// serveShared answers for subresources that have their parent's kind.
func (q *request) serveShared() {
	switch q.info.Verb {
	case "get":
		q.get()
	case "update":
		q.update()
	case "patch":
		q.patch()
	default:
		q.methodNotAllowed()
	}
}

func (q *request) serveScale() {
	switch q.info.Verb {
	case "get":
		item, err := q.s.pipeline.Get(q.r.Context(), q.pipelineRequest())
		if err != nil {
			q.fail(err)
			return
		}
		q.writeOther(http.StatusOK, pipeline.ScaleOf(q.kind.Resource, item.Object), scaleKind)
	case "update":
		q.update()
	case "patch":
		q.patch()
	default:
		q.methodNotAllowed()
	}
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
	q.code, q.wrote = http.StatusNotFound, true
	http.NotFound(q.w, q.r)
}
