package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/apiserver/pipeline"
)

// writeTimeout bounds a write. Upstream's figure.
const writeTimeout = 34 * time.Second

// serveResource answers a request for a kind that is served.
func (q *request) serveResource() {
	if err := q.refusal(); err != nil {
		if err == errPlainNotFound {
			q.plainNotFound()
			return
		}
		q.fail(err)
		return
	}
	if q.kind.Deprecated != "" {
		q.warn(q.kind.Deprecated)
	}
	if c := q.kind.Custom; c != nil && c.Deprecated != "" {
		q.warn(c.Deprecated)
	}
	if q.endSpan != nil {
		q.beginHandling()
		defer q.endHandling()
	}
	if q.info.Subresource != "" {
		q.serveSubresource()
		return
	}
	switch q.info.Verb {
	case "get":
		q.get()
	case "list":
		q.takeLane()
		if q.r.Context().Err() == context.Canceled {
			panic(http.ErrAbortHandler) // whoever has gone, a flood of those who come and go above all, gets no list made
		}
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
	}
}

func (q *request) get() {
	if _, ok := q.media(); !ok {
		return
	}
	version, err := q.getOptions()
	if err != nil {
		q.fail(err)
		return
	}
	if err := q.checkName(); err != nil {
		q.fail(err)
		return
	}
	q.handling.Event("About to Get from storage")
	item, err := q.s.pipeline.GetNotOlder(q.r.Context(), q.pipelineRequest(), version)
	if err != nil {
		q.fail(err)
		return
	}
	q.writeItem(http.StatusOK, item)
}

// checkName refuses names that no key can have, as upstream's storage does.
func (q *request) checkName() error {
	if faults := content.IsPathSegmentName(q.info.Name); len(faults) > 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("Name parameter invalid: %q: %s", q.info.Name, strings.Join(faults, ";")))
	}
	return nil
}

// getOptions reads what a GET may ask for: a revision that the answer is not older than.
func (q *request) getOptions() (version string, err error) {
	if q.r.URL.RawQuery == "" {
		return "", nil
	}
	if values := q.query()["export"]; len(values) > 0 && values[0] != "false" && values[0] != "0" {
		return "", apierrors.NewBadRequest("the export parameter, deprecated since v1.14, is no longer supported")
	}
	if version = q.query().Get("resourceVersion"); version != "" {
		err = checkRevision(version)
	}
	return version, err
}

// checkRevision refuses what is no revision as upstream's storage does, whose error is nobody's fault.
func checkRevision(rv string) error {
	if _, err := strconv.ParseUint(rv, 10, 64); err != nil {
		return field.Invalid(field.NewPath("resourceVersion"), rv, err.Error())
	}
	return nil
}

func (q *request) list() {
	if _, ok := q.media(); !ok {
		return
	}
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
	q.traffic.listed(list)
	q.writeList(list)
}

// create reads a body of kind gvk into obj and hands it on. obj is of the served version.
func (q *request) create(obj api.Object, gvk schema.GroupVersionKind) {
	o, err := q.readCreate(obj, gvk)
	if err == nil && gvk == q.kind.GVK {
		obj, err = q.kind.ToHub(obj)
	}
	if err != nil {
		q.fail(err)
		return
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), writeTimeout)
	defer cancel()
	q.handling.Event(aboutToStore)
	res, err := q.s.pipeline.Create(ctx, q.pipelineRequest(), obj, o)
	if err != nil {
		q.handling.Event(notStored)
		q.fail(err)
		return
	}
	q.handling.Event(stored)
	q.writeResult(http.StatusCreated, res)
}

// readCreate reads a create's parts in the order in which upstream complains of them.
func (q *request) readCreate(obj runtime.Object, gvk schema.GroupVersionKind) (*metav1.CreateOptions, error) {
	if err := q.acceptable(); err != nil {
		return nil, err
	}
	f, err := q.inputFormat()
	if err != nil {
		return nil, err
	}
	body, err := q.readBody()
	if err != nil {
		return nil, err
	}
	q.handling.Event(bodyRead)
	o, err := q.createOptions()
	if err != nil {
		return nil, err
	}
	return o, q.convert(f, body, obj, gvk, o.FieldValidation)
}

func (q *request) update() {
	obj, gvk := q.kind.Empty(), q.kind.GVK
	if q.info.Subresource == "scale" {
		obj, gvk = &autoscalingv1.Scale{}, scaleKind
	}
	o, err := q.readUpdate(obj, gvk)
	if err == nil && gvk == q.kind.GVK {
		obj, err = q.kind.ToHub(obj)
	}
	if err != nil {
		q.fail(err)
		return
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), writeTimeout)
	defer cancel()
	q.handling.Event(aboutToStore)
	res, err := q.s.pipeline.Update(ctx, q.pipelineRequest(), obj, o)
	if err != nil {
		q.handling.Event(notStored)
	} else {
		q.handling.Event(stored)
	}
	q.writeUpdate(res, err)
}

// readUpdate reads an update's parts in the order in which upstream complains of them.
func (q *request) readUpdate(obj runtime.Object, gvk schema.GroupVersionKind) (*metav1.UpdateOptions, error) {
	if err := q.acceptable(); err != nil {
		return nil, err
	}
	body, err := q.readBody()
	if err != nil {
		return nil, err
	}
	q.handling.Event(bodyRead)
	o, err := q.updateOptions()
	if err != nil {
		return nil, err
	}
	f, err := q.inputFormat()
	if err != nil {
		return nil, err
	}
	return o, q.convert(f, body, obj, gvk, o.FieldValidation)
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

func (q *request) patch() {
	pt := types.PatchType(q.contentType())
	allowed := q.mediaTypes().patches
	if q.kind.Custom != nil {
		allowed = q.mediaTypes().customPatches
	}
	if !slices.Contains(allowed, string(pt)) {
		q.fail(unsupportedMediaType(allowed...))
		return
	}
	body, o, err := q.readPatch(pt)
	if err != nil {
		q.fail(err)
		return
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), writeTimeout)
	defer cancel()
	q.handling.Event("About to apply patch")
	res, err := q.s.pipeline.Patch(ctx, q.pipelineRequest(), pt, body, o)
	if err == nil {
		q.handling.Event("Object stored in database")
	}
	q.writeUpdate(res, err)
}

// readPatch reads a patch's parts in the order in which upstream complains of them.
func (q *request) readPatch(pt types.PatchType) ([]byte, *metav1.PatchOptions, error) {
	if err := q.acceptable(); err != nil {
		return nil, nil, err
	}
	body, err := q.readBody()
	if err != nil {
		return nil, nil, err
	}
	q.handling.Event(bodyRead)
	o, err := q.patchOptions(pt)
	if err == nil {
		err = q.checkPatchAmounts(pt, body)
	}
	return body, o, err
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
	req := q.pipelineRequest()
	if err := permanent(req); err != nil {
		q.fail(err)
		return
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), writeTimeout)
	defer cancel()
	q.handling.Event("About to delete object from database")
	res, err := q.s.pipeline.Delete(ctx, req, o)
	if err != nil {
		q.fail(err)
		return
	}
	q.handling.Event("Object deleted from database")
	code := http.StatusOK
	if !res.Gone && o.OrphanDependents != nil && !*o.OrphanDependents {
		code = http.StatusAccepted
	}
	q.writeResult(code, res)
}

// permanent refuses the deletion of what the cluster cannot be without.
func permanent(req *pipeline.Request) error {
	if req.Resource.Permanent == nil {
		return nil
	}
	if why := req.Resource.Permanent(req.Name); why != "" {
		return apierrors.NewForbidden(req.Resource.GroupResource(), req.Name, errors.New(why))
	}
	return nil
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
	list, err := q.s.pipeline.DeleteCollection(q.r.Context(), q.pipelineRequest(), o, which)
	if err != nil {
		q.fail(err)
		return
	}
	q.writeList(list)
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
	return subresourceKind(q.kind, sub)
}

// writeOther answers with an object of another kind than the resource's.
func (q *request) writeOther(code int, obj runtime.Object, gvk schema.GroupVersionKind) {
	m, ok := q.media()
	if !ok {
		return
	}
	if o, ok := obj.(api.Object); ok && m.target.kind != "" {
		q.writeTransformed(code, m, o)
		return
	}
	m.target = target{} // what has no metadata has no other form either
	q.writeObject(code, m, obj, gvk)
}

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

// serveSubresource answers a request for a part of an object.
func (q *request) serveSubresource() {
	name := q.info.Subresource
	sub := q.kind.Subresource(name)
	switch {
	case name == "scale" && q.kind.Scale != nil && q.info.Verb == "get":
		q.getScale()
	case q.hasShared(name), sub != nil && sub.Update != nil:
		q.serveShared()
	case q.isConnect():
		q.connect()
	default:
		q.create(sub.New().(api.Object), q.bodyKind())
	}
}

// serveShared answers for subresources that have their parent's kind, and for writes of a scale.
func (q *request) serveShared() {
	switch q.info.Verb {
	case "get":
		q.get()
	case "update":
		q.update()
	case "patch":
		q.patch()
	}
}

func (q *request) getScale() {
	if _, ok := q.media(); !ok {
		return
	}
	item, err := q.s.pipeline.Get(q.r.Context(), q.pipelineRequest())
	if err != nil {
		q.fail(err)
		return
	}
	if c := q.kind.Custom; c != nil && c.Remote { // the scale is read through a webhook, which may fail
		if _, err := q.kind.FromHub(item.Object); err != nil {
			q.fail(err)
			return
		}
	}
	scale, err := pipeline.Scale(q.kind.Resource, item.Object)
	if err != nil {
		q.fail(err)
		return
	}
	q.writeOther(http.StatusOK, scale, scaleKind)
}
