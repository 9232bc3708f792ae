package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"

	"clipper/api"
	checked "clipper/apiserver/jsonpatch"
	"clipper/apiserver/pipeline/ownership"
	"clipper/apiserver/served"
)

// maxPatchOperations bounds a JSON patch, and maxCopied what its copies may add up to: each could double the object
// otherwise. Upstream's figures.
const (
	maxPatchOperations = 10000
	maxCopied          = 3 << 20
)

func init() { jsonpatch.AccumulatedCopySizeLimit = maxCopied } // the library has it as a variable

// A patch is one patch request with all that applying it needs. It may be applied several times.
type patch struct {
	w          *write
	kind       *served.Kind
	patchType  types.PatchType
	data       []byte
	validation string // field validation: Ignore, Warn, Strict
	force      bool
	duplicates error // of what is applied: keys that its text has twice
	warned     bool  // unknown fields are reported once, not at every attempt
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
	w.apply = pa.applies()
	return w.update(ctx, update{
		next:            pa.next,
		allowCreate:     pa.applies() && req.Subresource == "",
		authorizeCreate: req.AuthorizeCreate,
		rules:           rules,
	})
}

// next is the change that the patch makes.
func (pa *patch) next(ctx context.Context, old api.Object) (api.Object, error) {
	next, err := pa.apply(ctx, old)
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

func (pa *patch) apply(ctx context.Context, old api.Object) (api.Object, error) {
	if pa.applies() {
		return pa.applyConfiguration(ctx, old)
	}
	served, err := pa.kind.FromHub(old)
	if err != nil {
		return nil, err
	}
	served = ownership.WithKind(served, pa.kind.GVK)
	into := pa.kind.Empty()
	var unknown []error
	var shown func() string
	switch pa.patchType {
	case types.JSONPatchType, types.MergePatchType:
		unknown, shown, err = pa.applyJSON(served, into)
	case types.StrategicMergePatchType:
		unknown, shown, err = pa.applyStrategic(served, into)
	default:
		err = fmt.Errorf("%v: unimplemented patch type", pa.patchType)
	}
	if err != nil {
		return nil, err
	}
	pruned, err := pa.prune(into)
	if err != nil {
		return nil, invalidPatch(shown(), err)
	}
	if err := pa.unknownFields(append(unknown, pruned...), shown); err != nil {
		return nil, err
	}
	next, err := pa.kind.ToHub(into)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	pa.w.updateFields(old, next)
	return next, nil
}

// prune drops what a custom resource's schema does not know.
func (pa *patch) prune(into api.Object) (unknown []error, err error) {
	paths, err := pa.kind.Prune(into)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		unknown = append(unknown, fmt.Errorf("unknown field %q", path))
	}
	return unknown, nil
}

// applyJSON applies a JSON patch or a JSON merge patch to the object's JSON form. It returns unknown and
// duplicate fields, if they matter, and how upstream shows the result when it complains of them.
func (pa *patch) applyJSON(old, into api.Object) (unknown []error, shown func() string, err error) {
	before, err := json.Marshal(old)
	if err != nil {
		return nil, nil, apierrors.NewInternalError(err)
	}
	var after []byte
	if pa.patchType == types.JSONPatchType {
		after, unknown, err = pa.jsonPatch(before)
	} else {
		after, unknown, err = pa.mergePatch(before)
	}
	if err != nil {
		return nil, nil, err
	}
	shown = func() string { return string(after) }
	kind := old.GetObjectKind().GroupVersionKind()
	if err := checkPatchedKind(after, kind); err != nil {
		return nil, nil, invalidPatch(shown(), err)
	}
	if !pa.strict() {
		if err := kjson.UnmarshalCaseSensitivePreserveInts(after, into); err != nil {
			return nil, nil, invalidPatch(shown(), err)
		}
		return nil, shown, nil
	}
	more, err := kjson.UnmarshalStrict(after, into)
	if err != nil {
		return nil, nil, invalidPatch(shown(), err)
	}
	return append(unknown, more...), shown, nil
}

// checkPatchedKind refuses a patch that makes something else of the object.
func checkPatchedKind(text []byte, want schema.GroupVersionKind) error {
	have, err := serializer.DefaultMetaFactory.Interpret(text)
	switch {
	case err != nil:
		return err
	case have.Kind == "" || have.Version == "" || *have == want:
		return nil
	case have.GroupKind() != want.GroupKind() || !scheme.Scheme.Recognizes(*have): // another version is converted
		return NoSuchKind(*have, want)
	}
	return nil
}

// legacyScheme is how upstream names its table of kinds when one is missing from it.
const legacyScheme = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"

// NoSuchKind says why an object is not of the wanted kind: nobody knows what it is, or it is something else.
func NoSuchKind(have, want schema.GroupVersionKind) error {
	known, err := scheme.Scheme.New(have) // some kinds, such as Status, are the same in every group and version
	if err != nil {
		return runtime.NewNotRegisteredErrForKind(legacyScheme, have)
	}
	internal, _, _ := strings.Cut(want.Group, ".") // upstream's package of the type
	if internal == "" {
		internal = "core"
	}
	return fmt.Errorf("converting (%s) to (%s.%s): unknown conversion", strings.TrimPrefix(fmt.Sprintf("%T", known), "*"), internal, want.Kind)
}

// A jsonPatchOp is one operation of a JSON patch, read only to find fields that it should not have.
type jsonPatchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

func (pa *patch) jsonPatch(before []byte) (after []byte, unknown []error, err error) {
	if pa.strict() {
		var operations []jsonPatchOp
		if unknown, err = kjson.UnmarshalStrict(pa.data, &operations); err != nil {
			text := strings.ReplaceAll(err.Error(), "pipeline.jsonPatchOp", "handlers.jsonPatchOp") // where upstream has it
			return nil, nil, apierrors.NewBadRequest("error decoding patch: " + text)
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
	after, err = checked.Apply(operations, before)
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
	after, err = checked.Merge(before, pa.data)
	if errors.Is(err, jsonpatch.ErrBadJSONPatch) {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return after, unknown, err
}

// applyStrategic applies a strategic merge patch, which knows from the Go type how lists are merged.
func (pa *patch) applyStrategic(old, into api.Object) (unknown []error, shown func() string, err error) {
	if _, ok := into.(runtime.Unstructured); ok {
		return nil, nil, apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "patch", pa.w.req.groupResource(), pa.w.req.Name,
			"strategic merge patch is not supported for custom resources", 0, false)
	}
	before, err := runtime.DefaultUnstructuredConverter.ToUnstructured(old)
	if err != nil {
		return nil, nil, apierrors.NewInternalError(err)
	}
	change := map[string]any{}
	if pa.strict() {
		unknown, err = kjson.UnmarshalStrict(pa.data, &change)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(pa.data, &change)
	}
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	shown = func() string { return fmt.Sprintf("%+v", change) }
	if err := checkStrategic(old, before, change, len(pa.data), pa.kind.Empty()); err != nil {
		return nil, nil, err
	}
	after, err := mergeStrategic(before, change, pa.kind.Empty())
	if err != nil {
		return nil, nil, strategicError(err)
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(after, into, pa.strict())
	if err == nil {
		return unknown, shown, nil
	}
	more, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return nil, nil, invalidPatch(shown(), err)
	}
	return append(unknown, more.Errors()...), shown, nil
}

// applies says whether the patch is a server-side apply.
func (pa *patch) applies() bool {
	return pa.patchType == types.ApplyYAMLPatchType || pa.patchType == types.ApplyCBORPatchType
}

// strict says whether unknown fields matter at all: the default is to warn.
func (pa *patch) strict() bool { return pa.validation != metav1.FieldValidationIgnore }

// unknownFields reports unknown or duplicate fields as the client asked: refused, or warned about.
func (pa *patch) unknownFields(errs []error, patched func() string) error {
	switch {
	case len(errs) == 0 || !pa.strict():
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
