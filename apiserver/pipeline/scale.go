package pipeline

import (
	"context"
	"fmt"
	"math"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/catalogue"
)

// ScaleOf returns the scale subresource of obj.
func ScaleOf(r *catalogue.Resource, obj api.Object) *autoscalingv1.Scale {
	spec, status := r.Scale.Replicas(obj)
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name:              obj.GetName(),
			Namespace:         obj.GetNamespace(),
			UID:               obj.GetUID(),
			ResourceVersion:   obj.GetResourceVersion(),
			CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: spec},
		Status: autoscalingv1.ScaleStatus{Replicas: status},
	}
	if r.Scale.Selector != nil {
		scale.Status.Selector = r.Scale.Selector(obj)
	}
	return scale
}

// Scale returns the scale subresource of a stored object, or why it has none.
func Scale(r *catalogue.Resource, obj api.Object) (*autoscalingv1.Scale, error) {
	if r.Scale.Find == nil {
		return ScaleOf(r, obj), nil
	}
	path, found, err := r.Scale.Find(obj)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, apierrors.NewInternalError(fmt.Errorf("the spec replicas field %q does not exist", path))
	}
	return ScaleOf(r, obj), nil
}

// updateScale sets the parent's replicas from a Scale.
func (p *Pipeline) updateScale(ctx context.Context, req *Request, obj api.Object, o *metav1.UpdateOptions) (*Result, error) {
	scale, ok := obj.(*autoscalingv1.Scale)
	if !ok || req.Resource.Scale == nil {
		return nil, apierrors.NewMethodNotSupported(req.groupResource(), "update")
	}
	if err := req.matchNamespace(scale); err != nil {
		return nil, err
	}
	if err := req.matchName(scale); err != nil {
		return nil, err
	}
	return p.changeScale(ctx, req, o, scale.UID, func(old *autoscalingv1.Scale, w *write) (*autoscalingv1.Scale, error) {
		next := scale.DeepCopy()
		w.updateScaleFields(old, next)
		return next, nil
	})
}

// A scaleChange makes the wanted scale from the present one, which it may keep. Its managedFields are the scale's.
type scaleChange func(old *autoscalingv1.Scale, w *write) (*autoscalingv1.Scale, error)

// changeScale runs fn on the present scale and commits what comes out to the parent.
func (p *Pipeline) changeScale(ctx context.Context, req *Request, o *metav1.UpdateOptions, uid types.UID, fn scaleChange) (res *Result, err error) {
	w := p.begin(req, o.DryRun, o.FieldManager)
	w.options = o
	defer func() { w.end(err) }()
	r := req.Resource
	shown := func(obj api.Object) api.Object { return ScaleOf(r, obj) }
	res, err = w.update(ctx, update{
		uid:   uid,
		rules: rules{prepare: r.PrepareUpdate, validate: r.ValidateUpdate, metadata: r.Metadata, shown: shown},
		next:  func(ctx context.Context, old api.Object) (api.Object, error) { return w.scaled(ctx, old, fn) },
	})
	if err != nil {
		return nil, err
	}
	return &Result{Object: ScaleOf(r, res.Object.(api.Object)), Created: res.Created}, nil
}

// scaled returns old with the replicas, and their owners, of the scale that fn makes of its own.
func (w *write) scaled(ctx context.Context, old api.Object, fn scaleChange) (api.Object, error) {
	if err := w.visible(old); err != nil {
		return nil, err
	}
	r := w.req.Resource
	owners := w.p.scaleOwnership(w.req, old)
	scale, err := scaleWithOwners(r, old, owners)
	if err != nil {
		return nil, err
	}
	if scale, err = w.wanted(old, scale, fn); err != nil {
		return nil, err
	}
	if err := w.mutate(ctx, admission.Update, scale, ScaleOf(r, old)); err != nil {
		return nil, err
	}
	if r.Scale.Find == nil && scale.Spec.Replicas < 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: "autoscaling", Kind: "Scale"}, scale.Name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0").WithOrigin("minimum"),
		})
	}
	entries, err := owners.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	next := old.DeepCopyObject().(api.Object)
	next.SetResourceVersion(scale.ResourceVersion)
	r.Scale.SetReplicas(next, scale.Spec.Replicas)
	next.SetManagedFields(entries)
	return next, nil
}

// noReplicas stands for replicas that are not there, as upstream.
const noReplicas = math.MinInt32

// wanted returns what fn makes of old's scale. Where there are no replicas, fn must give some.
func (w *write) wanted(old api.Object, scale *autoscalingv1.Scale, fn scaleChange) (*autoscalingv1.Scale, error) {
	find := w.req.Resource.Scale.Find
	if find == nil {
		return fn(scale, w)
	}
	path, found, err := find(old)
	if err != nil {
		return nil, err
	}
	if !found {
		scale.Spec.Replicas = noReplicas
	}
	scale, err = fn(scale, w)
	if err == nil && scale.Spec.Replicas == noReplicas {
		err = apierrors.NewBadRequest(fmt.Sprintf("the spec replicas field %q cannot be empty", path))
	}
	return scale, err
}

// patchScale applies a patch to the Scale.
func (p *Pipeline) patchScale(ctx context.Context, req *Request, pt types.PatchType, data []byte, o *metav1.PatchOptions) (*Result, error) {
	if req.Resource.Scale == nil {
		return nil, apierrors.NewMethodNotSupported(req.groupResource(), "patch")
	}
	pa := &patch{patchType: pt, data: data, validation: o.FieldValidation, force: o.Force != nil && *o.Force}
	if pt == types.StrategicMergePatchType { // a Scale has no lists: both kinds of merge do the same
		pa.patchType = types.MergePatchType
	}
	update := &metav1.UpdateOptions{DryRun: o.DryRun, FieldManager: o.FieldManager}
	return p.changeScale(ctx, req, update, "", func(old *autoscalingv1.Scale, w *write) (*autoscalingv1.Scale, error) {
		pa.w = w
		next, err := pa.patchedScale(ctx, old)
		if err != nil {
			return nil, err
		}
		if err := req.matchNamespace(next); err != nil {
			return nil, err
		}
		return next, req.matchName(next)
	})
}

func (pa *patch) patchedScale(ctx context.Context, old *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
	if pa.applies() {
		return pa.applyScale(ctx, old)
	}
	next := &autoscalingv1.Scale{}
	unknown, shown, err := pa.applyJSON(old, next)
	if err != nil {
		return nil, err
	}
	if err := pa.unknownFields(unknown, shown); err != nil {
		return nil, err
	}
	pa.w.updateScaleFields(old, next)
	return next, nil
}
