package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"sync"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"clipper/api"
	"clipper/catalogue"
)

// Who owns an object's replicas owns those of its scale, and the other way round: the library's scale
// handler translates between the two.

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

// scaleOwnership returns the translation for one object.
func (p *Pipeline) scaleOwnership(req *Request, parent api.Object) *managedfields.ScaleHandler {
	r := req.Resource
	paths := managedfields.ResourcePathMappings{}
	for version, path := range r.Scale.Paths {
		paths[schema.GroupVersion{Group: r.Group, Version: version}.String()] = fieldpath.MakePathOrDie(path...)
	}
	if r.Scale.Paths == nil {
		path := fieldpath.MakePathOrDie("spec", "replicas")
		paths[r.GVK().GroupVersion().String()] = path
		for _, v := range r.Also {
			paths[schema.GroupVersion{Group: cmp.Or(v.Group, r.Group), Version: v.Version}.String()] = path
		}
	}
	return managedfields.NewScaleHandler(parent.GetManagedFields(), p.kind(req).GVK.GroupVersion(), paths)
}

// scaleWithOwners returns the scale of an object as a writer of scales sees it.
func scaleWithOwners(r *catalogue.Resource, parent api.Object, owners *managedfields.ScaleHandler) (*autoscalingv1.Scale, error) {
	scale := ScaleOf(r, parent)
	scale.SetGroupVersionKind(scaleKind)
	entries, err := owners.ToSubresource()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	scale.ManagedFields = entries
	return scale, nil
}

// applyScale merges a server-side apply's configuration into a scale.
func (pa *patch) applyScale(ctx context.Context, old *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
	config, err := pa.configuration(ctx)
	if err != nil {
		return nil, err
	}
	fm, err := pa.w.p.scales.manager()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	merged, err := fm.Apply(old, config, pa.w.manager, pa.force)
	if err != nil {
		return nil, err
	}
	return merged.(*autoscalingv1.Scale), pa.checkDuplicates()
}

// updateScaleFields records what a writer changed of a scale.
func (w *write) updateScaleFields(old, next *autoscalingv1.Scale) {
	fm, err := w.p.scales.manager()
	if err != nil {
		next.ManagedFields = nil // like upstream, this never fails a request
		return
	}
	next.SetGroupVersionKind(scaleKind)
	fm.UpdateNoErrors(old, next, w.manager)
}

// scales makes the one field manager of all scales when it is first needed.
type scales struct {
	once sync.Once
	fm   *managedfields.FieldManager
	err  error

	types managedfields.TypeConverter
}

func (s *scales) manager() (*managedfields.FieldManager, error) {
	s.once.Do(func() {
		c := scaleConverter{}
		s.fm, s.err = managedfields.NewDefaultFieldManager(s.types, c, c, c, scaleKind, scaleKind.GroupVersion(), "scale", nil)
	})
	return s.fm, s.err
}

// A scaleConverter tells the field manager that a Scale has but one version and no defaults.
type scaleConverter struct{}

// New implements runtime.ObjectCreater.
func (scaleConverter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	return &autoscalingv1.Scale{TypeMeta: metav1.TypeMeta{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind}}, nil
}

// Default implements runtime.ObjectDefaulter.
func (scaleConverter) Default(runtime.Object) {}

// ConvertToVersion implements runtime.ObjectConvertor.
func (scaleConverter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	if want, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{scaleKind}); !ok || want != scaleKind {
		return nil, runtime.NewNotRegisteredErrForTarget("clipper", reflect.TypeOf(in), target)
	}
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	scale := &autoscalingv1.Scale{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, scale); err != nil {
		return nil, err
	}
	return scale, nil
}

// Convert implements runtime.ObjectConvertor; the field manager has no use for it.
func (scaleConverter) Convert(in, _, _ any) error { return fmt.Errorf("convert %T: not supported", in) }

// ConvertFieldLabel implements runtime.ObjectConvertor; the field manager has no use for it.
func (scaleConverter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}
