package audit

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"path"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
	"clipper/api/packed"
	"clipper/apiserver/pipeline"
	"clipper/store"
)

var codecs = scheme.Codecs.WithoutConversion()

// Door returns next with a record of what comes through: the requests of the server's own parts, which do not come
// over HTTP, as the ones that they would be there. A nil Auditor returns next itself.
func (a *Auditor) Door(next pipeline.Door) pipeline.Door {
	if a == nil {
		return next
	}
	return &door{next, a}
}

type door struct {
	next    pipeline.Door
	auditor *Auditor
}

// A recording is the record of one request; nil if the policy leaves it out.
type recording struct {
	*audit.AuditContext
	ctx context.Context
	req *pipeline.Request
}

// begin records that a request has come. It fails if the policy's back end insists on being heard.
func (d *door) begin(ctx context.Context, req *pipeline.Request, verb, method string) (context.Context, *recording, error) {
	uri := location(req)
	attributes := &authorizer.AttributesRecord{
		User: req.User, Verb: verb, Namespace: req.Namespace, APIGroup: req.Resource.Group, APIVersion: req.Resource.Version,
		Resource: req.Resource.Name, Subresource: req.Subresource, Name: req.Name, ResourceRequest: true, Path: uri,
	}
	ctx, ac, ok := d.auditor.Begin(ctx, attributes)
	if !ok {
		return ctx, nil, nil
	}
	as := &http.Request{Method: method, RequestURI: uri, URL: &url.URL{Path: uri}, RemoteAddr: "127.0.0.1:0",
		Header: http.Header{"User-Agent": {req.Manager}}}
	audit.WithAuditID(ctx, uuid.NewUUID())
	audit.LogRequestMetadata(ctx, as, time.Now(), attributes)
	if !ac.ProcessEventStage(ctx, auditinternal.StageRequestReceived) {
		audit.ApiserverAuditDroppedCounter.Inc()
		return ctx, nil, apierrors.NewInternalError(errors.New("failed to store audit event"))
	}
	return ctx, &recording{ac, ctx, req}, nil
}

// location is the path that the request would have.
func location(req *pipeline.Request) string {
	parts := []string{"/apis", req.Resource.Group, req.Resource.Version}
	if req.Resource.Group == "" {
		parts = []string{"/api", req.Resource.Version}
	}
	if req.Namespace != "" {
		parts = append(parts, "namespaces", req.Namespace)
	}
	return path.Join(append(parts, req.Resource.Name, req.Name, req.Subresource)...)
}

// body records what came with the request.
func (r *recording) body(obj runtime.Object, gv schema.GroupVersion) {
	if r != nil {
		if given, ok := obj.(api.Object); ok {
			obj = packed.Open(given)
		}
		audit.LogRequestObject(r.ctx, obj, gv, r.req.Resource.GVR(), r.req.Subresource, codecs)
	}
}

// end records the answer.
func (r *recording) end(code int, obj runtime.Object, err error) {
	if r == nil {
		return
	}
	if err != nil {
		status := statusOf(err)
		r.LogResponseObject(status, nil)
		code = int(status.Code)
	} else if obj != nil {
		if stored, ok := obj.(api.Object); ok {
			obj = packed.Open(stored)
		}
		audit.LogResponseObject(r.ctx, obj, r.req.Resource.GVR().GroupVersion(), codecs)
	}
	r.SetEventResponseStatusCode(int32(code)) // last: a Status that answers a success has none
	r.ProcessEventStage(r.ctx, auditinternal.StageResponseComplete)
}

// statusOf is err as a client would see it.
func statusOf(err error) *metav1.Status {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	return &status
}

// object is what a write leaves behind, nil if it failed.
func object(res *pipeline.Result) runtime.Object {
	if res == nil {
		return nil
	}
	return res.Object
}

func (d *door) Get(ctx context.Context, req *pipeline.Request) (*store.Item, error) {
	ctx, r, err := d.begin(ctx, req, "get", http.MethodGet)
	if err != nil {
		return nil, err
	}
	it, err := d.next.Get(ctx, req)
	if err != nil {
		r.end(0, nil, err)
		return nil, err
	}
	r.end(http.StatusOK, it.Object, nil)
	return it, nil
}

// List records that something was listed, without the items: those who list here read the store's own objects.
func (d *door) List(ctx context.Context, req *pipeline.Request, o *metav1.ListOptions) (*pipeline.List, error) {
	ctx, r, err := d.begin(ctx, req, "list", http.MethodGet)
	if err != nil {
		return nil, err
	}
	list, err := d.next.List(ctx, req, o)
	r.end(http.StatusOK, nil, err)
	return list, err
}

func (d *door) Create(ctx context.Context, req *pipeline.Request, obj api.Object, o *metav1.CreateOptions) (*pipeline.Result, error) {
	ctx, r, err := d.begin(ctx, req, "create", http.MethodPost)
	if err != nil {
		return nil, err
	}
	r.body(obj, req.Resource.GVR().GroupVersion())
	res, err := d.next.Create(ctx, req, obj, o)
	r.end(http.StatusCreated, object(res), err)
	return res, err
}

func (d *door) Update(ctx context.Context, req *pipeline.Request, obj api.Object, o *metav1.UpdateOptions) (*pipeline.Result, error) {
	ctx, r, err := d.begin(ctx, req, "update", http.MethodPut)
	if err != nil {
		return nil, err
	}
	r.body(obj, req.Resource.GVR().GroupVersion())
	res, err := d.next.Update(ctx, req, obj, o)
	r.end(http.StatusOK, object(res), err)
	return res, err
}

func (d *door) Patch(ctx context.Context, req *pipeline.Request, pt types.PatchType, data []byte, o *metav1.PatchOptions) (*pipeline.Result, error) {
	ctx, r, err := d.begin(ctx, req, "patch", http.MethodPatch)
	if err != nil {
		return nil, err
	}
	if r != nil {
		audit.LogRequestPatch(ctx, data)
	}
	res, err := d.next.Patch(ctx, req, pt, data, o)
	r.end(http.StatusOK, object(res), err)
	return res, err
}

func (d *door) Delete(ctx context.Context, req *pipeline.Request, o *metav1.DeleteOptions) (*pipeline.Result, error) {
	ctx, r, err := d.begin(ctx, req, "delete", http.MethodDelete)
	if err != nil {
		return nil, err
	}
	r.body(o, schema.GroupVersion{Version: "v1"})
	res, err := d.next.Delete(ctx, req, o)
	r.end(http.StatusOK, object(res), err)
	return res, err
}

func (d *door) DeleteCollection(ctx context.Context, req *pipeline.Request, o *metav1.DeleteOptions, which *metav1.ListOptions) (*pipeline.List, error) {
	ctx, r, err := d.begin(ctx, req, "deletecollection", http.MethodDelete)
	if err != nil {
		return nil, err
	}
	r.body(o, schema.GroupVersion{Version: "v1"})
	list, err := d.next.DeleteCollection(ctx, req, o, which)
	r.end(http.StatusOK, nil, err)
	return list, err
}
