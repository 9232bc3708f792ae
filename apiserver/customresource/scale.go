package customresource

import (
	"fmt"
	"math"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
)

// scalePaths is where v has what the scale subresource shows; nil if there is none.
func (v *version) scalePaths() *apiextensionsv1.CustomResourceSubresourceScale {
	if v.spec.Subresources == nil {
		return nil
	}
	return v.spec.Subresources.Scale
}

// scale describes the scale subresource; nil if there is none.
func (v *version) scale() *catalogue.Scale {
	s := v.scalePaths()
	if s == nil {
		return nil
	}
	number := func(o map[string]any, path string) int32 {
		n, _, err := unstructured.NestedInt64(o, segments(path)...)
		if err != nil {
			return 0 // the schema allows something else than a number there
		}
		return int32(n)
	}
	return &catalogue.Scale{
		Replicas: func(o api.Object) (spec, status int32) {
			seen, err := v.read([]api.Object{o})
			if err != nil {
				return 0, 0
			}
			return number(content(seen[0]), s.SpecReplicasPath), number(content(seen[0]), s.StatusReplicasPath)
		},
		Find: func(o api.Object) (path string, found bool, err error) {
			seen, err := v.read([]api.Object{o})
			if err == nil {
				_, found, err = unstructured.NestedInt64(content(seen[0]), segments(s.SpecReplicasPath)...)
			}
			return s.SpecReplicasPath, found, err
		},
		SetReplicas: func(o api.Object, n int32) { v.setReplicas(o, s.SpecReplicasPath, n) },
		Selector: func(o api.Object) string {
			seen, err := v.read([]api.Object{o})
			if s.LabelSelectorPath == nil || err != nil {
				return ""
			}
			text, _, _ := unstructured.NestedString(content(seen[0]), segments(*s.LabelSelectorPath)...)
			return text
		},
		Paths: v.of.replicasPaths(),
	}
}

// replicasPaths are where the versions have their replicas, as managedFields write paths.
func (d *definition) replicasPaths() map[string][]any {
	out := map[string][]any{}
	for _, v := range d.versions {
		s := v.scalePaths()
		if s == nil {
			continue
		}
		for _, name := range segments(s.SpecReplicasPath) {
			out[v.name] = append(out[v.name], name)
		}
	}
	return out
}

// setReplicas changes an object of the storage version through the eyes of v. It leaves the object as it is
// where the schema has no number there, or a webhook does not answer: the caller sees that nothing changed.
func (v *version) setReplicas(o api.Object, path string, n int32) {
	u := o.(*unstructured.Unstructured)
	if v == v.of.storage {
		_ = unstructured.SetNestedField(u.Object, int64(n), segments(path)...)
		return
	}
	seen, err := v.of.convert.one(o, v.gvk)
	if err != nil {
		return
	}
	seen = seen.DeepCopyObject().(api.Object)
	if unstructured.SetNestedField(content(seen), int64(n), segments(path)...) != nil {
		return
	}
	if back, err := v.of.convert.one(seen, v.of.storage.gvk); err == nil {
		u.Object = content(back)
	}
}

// validateScale checks what the scale subresource reads of the spec.
func (v *version) validateScale(o map[string]any) field.ErrorList {
	s := v.scalePaths()
	if s == nil {
		return nil
	}
	return append(validateReplicas(o, s.SpecReplicasPath), v.validateScaleStatus(o)...)
}

// validateScaleStatus checks what the scale subresource reads of the status.
func (v *version) validateScaleStatus(o map[string]any) field.ErrorList {
	s := v.scalePaths()
	if s == nil {
		return nil
	}
	faults := validateReplicas(o, s.StatusReplicasPath)
	if s.LabelSelectorPath != nil {
		text, _, err := unstructured.NestedString(o, segments(*s.LabelSelectorPath)...)
		if err != nil {
			faults = append(faults, field.Invalid(field.NewPath(*s.LabelSelectorPath), text, err.Error()))
		}
	}
	return faults
}

func validateReplicas(o map[string]any, path string) field.ErrorList {
	n, _, err := unstructured.NestedInt64(o, segments(path)...)
	at := field.NewPath(path)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(at, n, err.Error())}
	case n < 0:
		return field.ErrorList{field.Invalid(at, n, "should be a non-negative integer")}
	case n > math.MaxInt32:
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32))}
	}
	return nil
}
