package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"clipper/api"
	"clipper/apiserver/pipeline/ownership"
	"clipper/apiserver/served"
)

// maxPatchOperations bounds a JSON patch. Upstream's figure.
const maxPatchOperations = 10000

// A patch is one patch request with all that applying it needs. It may be applied several times.
type patch struct {
	w          *write
	kind       *served.Kind
	patchType  types.PatchType
	data       []byte
	validation string // field validation: Ignore, Warn, Strict
	force      bool
	warned     bool // unknown fields are reported once, not at every attempt
}

// Patch changes part of an object, its status or another subresource that shares its kind.
func (p *Pipeline) Patch(ctx context.Context, req *Request, pt types.PatchType, data []byte, o *metav1.PatchOptions) (res *Result, err error) {
	if req.Subresource == "scale" {
		return p.patchScale(ctx, req, pt, data, o)
	}
	rules, ok := req.rules()
	if !ok || req.Resource.Prefix == "" {
		return nil, apierrors.NewMethodNotSupported(req.groupResource(), "patch")
	}
	w := p.begin(req, o.DryRun, o.FieldManager)
	w.options = o
	defer func() { w.end(err) }()
	kind := p.kind(req)
	if kind == nil {
		return nil, req.notFound()
	}
	pa := &patch{w: w, kind: kind, patchType: pt, data: data, validation: o.FieldValidation, force: o.Force != nil && *o.Force}
	return w.update(ctx, update{
		next:            pa.next,
		allowCreate:     pt == types.ApplyPatchType && req.Subresource == "",
		authorizeCreate: req.AuthorizeCreate,
		rules:           rules,
	})
}

// next is the change that the patch makes.
func (pa *patch) next(ctx context.Context, old api.Object) (api.Object, error) {
	next, err := pa.apply(old)
	if err != nil {
		return nil, err
	}
	req := pa.w.req
	if old == nil && next.GetUID() != "" {
		return nil, req.conflict(fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", next.GetUID()))
	}
	if err := req.matchNamespace(next); err != nil {
		return nil, err
	}
	return next, req.matchName(next)
}

func (pa *patch) apply(old api.Object) (api.Object, error) {
	if pa.patchType == types.ApplyPatchType {
		return pa.applyConfiguration(old)
	}
	served, err := pa.kind.FromHub(old)
	if err != nil {
		return nil, err
	}
	served = ownership.WithKind(served, pa.kind.GVK)
	into := pa.kind.Empty()
	switch pa.patchType {
	case types.JSONPatchType, types.MergePatchType:
		err = pa.applyJSON(served, into)
	case types.StrategicMergePatchType:
		err = pa.applyStrategic(served, into)
	default:
		err = fmt.Errorf("%v: unimplemented patch type", pa.patchType)
	}
	if err != nil {
		return nil, err
	}
	if err := pa.prune(into); err != nil {
		return nil, err
	}
	next, err := pa.kind.ToHub(into)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	pa.w.updateFields(old, next)
	return next, nil
}

// prune drops what a custom resource's schema does not know, and reports it as unknown fields.
func (pa *patch) prune(into api.Object) error {
	paths, err := pa.kind.Prune(into)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if !pa.strict() {
		return nil
	}
	var unknown []error
	for _, path := range paths {
		unknown = append(unknown, fmt.Errorf("unknown field %q", path))
	}
	return pa.unknownFields(unknown, func() string { return string(pa.data) })
}

// applyJSON applies a JSON patch or a JSON merge patch to the object's JSON form.
func (pa *patch) applyJSON(old, into api.Object) error {
	before, err := json.Marshal(old)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	var after []byte
	var unknown []error
	if pa.patchType == types.JSONPatchType {
		after, unknown, err = pa.jsonPatch(before)
	} else {
		after, unknown, err = pa.mergePatch(before)
	}
	if err != nil {
		return err
	}
	if !pa.strict() {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(after, into); err != nil {
			return invalidPatch(string(after), err)
		}
		return nil
	}
	more, err := kjson.UnmarshalStrict(after, into)
	if err != nil {
		return invalidPatch(string(after), err)
	}
	return pa.unknownFields(append(unknown, more...), func() string { return string(after) })
}

func (pa *patch) jsonPatch(before []byte) (after []byte, unknown []error, err error) {
	if pa.strict() {
		var operations []struct {
			Op    string `json:"op"`
			Path  string `json:"path"`
			From  string `json:"from"`
			Value any    `json:"value"`
		}
		if unknown, err = kjson.UnmarshalStrict(pa.data, &operations); err != nil {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		for i, e := range unknown {
			unknown[i] = fmt.Errorf("json patch %v", e)
		}
	}
	operations, err := jsonpatch.DecodePatch(pa.data)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if len(operations) > maxPatchOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(
			fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(operations)))
	}
	after, err = operations.Apply(before)
	if err != nil {
		return nil, nil, unprocessable(err)
	}
	return after, unknown, nil
}

func (pa *patch) mergePatch(before []byte) (after []byte, unknown []error, err error) {
	if pa.strict() {
		if unknown, err = kjson.UnmarshalStrict(pa.data, &map[string]any{}); err != nil {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
	}
	after, err = jsonpatch.MergePatch(before, pa.data)
	if errors.Is(err, jsonpatch.ErrBadJSONPatch) {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return after, unknown, err
}

// applyStrategic applies a strategic merge patch, which knows from the Go type how lists are merged.
func (pa *patch) applyStrategic(old, into api.Object) error {
	if _, ok := into.(runtime.Unstructured); ok {
		return apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "patch", pa.w.req.groupResource(), pa.w.req.Name,
			"strategic merge patch is not supported for custom resources", 0, false)
	}
	before, err := runtime.DefaultUnstructuredConverter.ToUnstructured(old)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	change := map[string]any{}
	var unknown []error
	if pa.strict() {
		unknown, err = kjson.UnmarshalStrict(pa.data, &change)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(pa.data, &change)
	}
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	shown := func() string { return fmt.Sprintf("%+v", change) }
	after, err := strategicpatch.StrategicMergeMapPatch(before, change, pa.kind.Empty())
	if err != nil {
		return strategicError(err)
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(after, into, pa.strict())
	if err == nil {
		return pa.unknownFields(unknown, shown)
	}
	more, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return invalidPatch(shown(), err)
	}
	return pa.unknownFields(append(unknown, more.Errors()...), shown)
}

func strategicError(err error) error {
	switch err {
	case mergepatch.ErrBadJSONDoc, mergepatch.ErrBadPatchFormatForPrimitiveList, mergepatch.ErrBadPatchFormatForRetainKeys,
		mergepatch.ErrBadPatchFormatForSetElementOrderList, mergepatch.ErrUnsupportedStrategicMergePatchFormat:
		return apierrors.NewBadRequest(err.Error())
	case mergepatch.ErrNoListOfLists, mergepatch.ErrPatchContentNotMatchRetainKeys:
		return unprocessable(err)
	}
	return err
}

// strict says whether unknown fields matter at all: the default is to warn.
func (pa *patch) strict() bool { return pa.validation != metav1.FieldValidationIgnore }

// unknownFields reports unknown or duplicate fields as the client asked: refused, or warned about.
func (pa *patch) unknownFields(errs []error, patched func() string) error {
	switch {
	case len(errs) == 0:
		return nil
	case pa.validation == metav1.FieldValidationStrict:
		return invalidPatch(patched(), runtime.NewStrictDecodingError(errs))
	case !pa.warned:
		pa.warned = true
		for _, err := range errs {
			pa.w.warn(err.Error())
		}
	}
	return nil
}

func invalidPatch(patched string, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), patched, err.Error())})
}

func unprocessable(err error) error {
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}
