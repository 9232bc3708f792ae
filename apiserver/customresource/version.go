package customresource

import (
	"context"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"clipper/api"
)

// A version is one version of a definition, ready for use.
type version struct {
	name       string
	gvk        schema.GroupVersionKind
	listKind   string
	spec       *apiextensionsv1.CustomResourceDefinitionVersion
	preserve   bool // unknown fields are kept everywhere: definitions that come from v1beta1
	structural *structuralschema.Structural
	schemas    validation.SchemaValidator
	rules      *cel.Validator // nil if the schema has none
}

func compile(d *apiextensionsv1.CustomResourceDefinition, spec *apiextensionsv1.CustomResourceDefinitionVersion) (*version, error) {
	v := &version{
		name:     spec.Name,
		gvk:      schema.GroupVersionKind{Group: d.Spec.Group, Version: spec.Name, Kind: d.Status.AcceptedNames.Kind},
		listKind: d.Status.AcceptedNames.ListKind,
		spec:     spec,
		preserve: d.Spec.PreserveUnknownFields,
	}
	props := &apiextensions.JSONSchemaProps{}
	if spec.Schema != nil && spec.Schema.OpenAPIV3Schema != nil {
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(spec.Schema.OpenAPIV3Schema, props, nil); err != nil {
			return nil, err
		}
	}
	var err error
	if v.structural, err = structuralschema.NewStructural(props); err != nil {
		return nil, err
	}
	if v.schemas, _, err = validation.NewSchemaValidator(props); err != nil {
		return nil, err
	}
	v.rules = cel.NewValidator(v.structural, true, celconfig.PerCallLimit)
	return v, nil
}

func (v *version) hasStatus() bool {
	return v.spec.Subresources != nil && v.spec.Subresources.Status != nil
}

func (v *version) empty() api.Object {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(v.gvk)
	return u
}

func (v *version) emptyList() runtime.Object {
	u := &unstructured.UnstructuredList{}
	u.SetGroupVersionKind(v.gvk.GroupVersion().WithKind(v.listKind))
	return u
}

func (v *version) defaults(o api.Object) {
	defaulting.Default(content(o), v.structural)
	defaulting.PruneNonNullableNullsWithoutDefaults(content(o), v.structural)
}

// prune drops unknown fields and brings metadata, also that of embedded objects, into its known form.
func (v *version) prune(o api.Object) (unknown []string, err error) {
	u := o.(*unstructured.Unstructured)
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(u.Object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, err
	}
	if !v.preserve {
		unknown = append(unknown, pruning.PruneWithOptions(u.Object, v.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
		defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, v.structural)
	}
	fault, paths := objectmeta.CoerceWithOptions(nil, u.Object, v.structural, false, objectmeta.CoerceOptions{ReturnUnknownFieldPaths: true})
	if fault != nil {
		return nil, fault
	}
	unknown = append(unknown, paths...)
	u.SetGroupVersionKind(v.gvk) // pruning treats the root's own fields like any others
	if found {
		if err := objectmeta.SetObjectMeta(u.Object, meta); err != nil {
			return nil, err
		}
	}
	return unknown, nil
}

func (v *version) validateCreate(o api.Object) field.ErrorList {
	faults := validation.ValidateCustomResource(nil, content(o), v.schemas)
	faults = append(faults, v.validateScale(content(o))...)
	faults = append(faults, objectmeta.Validate(nil, content(o), v.structural, false)...)
	faults = append(faults, listtype.ValidateListSetsAndMaps(nil, v.structural, content(o))...)
	return v.checkRules(faults, content(o), nil)
}

func (v *version) validateUpdate(o, old api.Object) field.ErrorList {
	next, was := content(o), content(old)
	faults := validation.ValidateCustomResourceUpdate(nil, next, was, v.schemas)
	faults = append(faults, v.validateScale(next)...)
	faults = append(faults, objectmeta.Validate(nil, next, v.structural, false)...)
	if len(listtype.ValidateListSetsAndMaps(nil, v.structural, was)) == 0 {
		faults = append(faults, listtype.ValidateListSetsAndMaps(nil, v.structural, next)...)
	}
	return v.checkRules(faults, next, was)
}

// checkRules evaluates the schema's CEL rules, unless the object's shape is wrong already.
func (v *version) checkRules(faults field.ErrorList, next, was map[string]any) field.ErrorList {
	if v.rules == nil {
		return faults
	}
	for _, f := range faults {
		switch f.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return append(faults, field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
		}
	}
	var old any
	if was != nil {
		old = was
	}
	more, _ := v.rules.Validate(context.Background(), nil, v.structural, next, old, celconfig.RuntimeCELCostBudget)
	return append(faults, more...)
}

// validateScale checks what the scale subresource reads.
func (v *version) validateScale(o map[string]any) field.ErrorList {
	if v.spec.Subresources == nil || v.spec.Subresources.Scale == nil {
		return nil
	}
	var faults field.ErrorList
	for _, path := range []string{v.spec.Subresources.Scale.SpecReplicasPath, v.spec.Subresources.Scale.StatusReplicasPath} {
		n, _, err := unstructured.NestedInt64(o, segments(path)...)
		at := field.NewPath(path[1:])
		switch {
		case err != nil:
			faults = append(faults, field.Invalid(at, n, err.Error()))
		case n < 0:
			faults = append(faults, field.Invalid(at, n, "should be a non-negative integer"))
		case n > maxReplicas:
			faults = append(faults, field.Invalid(at, n, fmt.Sprintf("should be less than or equal to %v", maxReplicas)))
		}
	}
	return faults
}

const maxReplicas = 1<<31 - 1
