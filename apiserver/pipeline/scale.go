package pipeline

import (
	"context"
	"encoding/json"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"

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
	return p.changeScale(ctx, req, o, scale.UID, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		return scale, nil
	})
}

// changeScale runs fn on the present scale and commits what comes out to the parent.
func (p *Pipeline) changeScale(ctx context.Context, req *Request, o *metav1.UpdateOptions, uid types.UID, fn func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (res *Result, err error) {
	w := p.begin(req, o.DryRun, o.FieldManager)
	w.options = o
	defer func() { w.end(err) }()
	r := req.Resource
	shown := func(obj api.Object) api.Object { return ScaleOf(r, obj) }
	res, err = w.update(ctx, update{
		uid:   uid,
		rules: rules{prepare: r.PrepareUpdate, validate: r.ValidateUpdate, shown: shown},
		next: func(ctx context.Context, old api.Object) (api.Object, error) {
			scale, err := fn(ScaleOf(r, old))
			if err != nil {
				return nil, err
			}
			if err := w.mutate(ctx, admission.Update, scale, shown(old)); err != nil {
				return nil, err
			}
			if scale.Spec.Replicas < 0 {
				return nil, apierrors.NewInvalid(schema.GroupKind{Group: "autoscaling", Kind: "Scale"}, scale.Name, field.ErrorList{
					field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0").WithOrigin("minimum"),
				})
			}
			next := old.DeepCopyObject().(api.Object)
			next.SetResourceVersion(scale.ResourceVersion)
			r.Scale.SetReplicas(next, scale.Spec.Replicas)
			w.updateFields(old, next)
			return next, nil
		},
	})
	if err != nil {
		return nil, err
	}
	return &Result{Object: ScaleOf(r, res.Object.(api.Object)), Created: res.Created}, nil
}

// patchScale applies a patch to the Scale. An apply becomes one of the parent's replicas alone.
func (p *Pipeline) patchScale(ctx context.Context, req *Request, pt types.PatchType, data []byte, o *metav1.PatchOptions) (*Result, error) {
	if req.Resource.Scale == nil {
		return nil, apierrors.NewMethodNotSupported(req.groupResource(), "patch")
	}
	update := &metav1.UpdateOptions{DryRun: o.DryRun, FieldManager: o.FieldManager}
	if pt == types.ApplyPatchType {
		return p.applyScale(ctx, req, data, update)
	}
	w := p.begin(req, o.DryRun, o.FieldManager)
	pa := &patch{w: w, patchType: pt, data: data, validation: o.FieldValidation}
	return p.changeScale(ctx, req, update, "", func(old *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		old.SetGroupVersionKind(autoscalingv1.SchemeGroupVersion.WithKind("Scale"))
		if pt == types.StrategicMergePatchType { // a Scale has no lists: both kinds of merge do the same
			pa.patchType = types.MergePatchType
		}
		next := &autoscalingv1.Scale{}
		return next, pa.applyJSON(old, next)
	})
}

func (p *Pipeline) applyScale(ctx context.Context, req *Request, data []byte, o *metav1.UpdateOptions) (*Result, error) {
	var wanted autoscalingv1.Scale
	text, err := yaml.ToJSON(data)
	if err == nil {
		err = json.Unmarshal(text, &wanted)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	return p.changeScale(ctx, req, o, wanted.UID, func(old *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		old.Spec.Replicas = wanted.Spec.Replicas
		if wanted.ResourceVersion != "" {
			old.ResourceVersion = wanted.ResourceVersion
		}
		return old, nil
	})
}
