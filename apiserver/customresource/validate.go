package customresource

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"

	"clipper/api"
)

// validateCreate checks a new object, given in the storage version, by v's schema.
func (v *version) validateCreate(o api.Object) field.ErrorList {
	seen, err := v.seen(o)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	next := seen[0]
	faults := validation.ValidateCustomResource(nil, next, v.shape().schemas)
	faults = append(faults, v.validateScale(next)...)
	faults = append(faults, objectmeta.Validate(nil, next, v.shape().structural, false)...)
	faults = append(faults, listtype.ValidateListSetsAndMaps(nil, v.shape().structural, next)...)
	return v.checkRules(faults, next, nil)
}

// validateUpdate checks a changed object. What was wrong already and has not changed may stay as it is.
func (v *version) validateUpdate(o, old api.Object) field.ErrorList {
	seen, err := v.seen(o, old)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	next, was := seen[0], seen[1]
	same := common.NewCorrelatedObject(next, was, &model.Structural{Structural: v.shape().structural})
	faults := validation.ValidateCustomResourceUpdate(nil, next, was, v.shape().schemas, validation.WithRatcheting(same))
	faults = append(faults, v.validateScale(next)...)
	faults = append(faults, objectmeta.Validate(nil, next, v.shape().structural, false)...)
	faults = append(faults, v.newListFaults(next, was)...)
	return v.checkRules(faults, next, was, cel.WithRatcheting(same))
}

// validateStatus checks a changed status, by the part of the schema that is about it.
func (v *version) validateStatus(o, old api.Object) field.ErrorList {
	seen, err := v.seen(o, old)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	next, was := seen[0], seen[1]
	same := common.NewCorrelatedObject(next, was, &model.Structural{Structural: v.shape().structural})
	var faults field.ErrorList
	if status, ok := next["status"]; ok {
		faults = validation.ValidateCustomResourceUpdate(field.NewPath("status"), status, was["status"], v.shape().status, validation.WithRatcheting(same.Key("status")))
	}
	faults = append(faults, v.validateScaleStatus(next)...)
	faults = append(faults, v.newListFaults(next, was)...)
	return v.checkRules(faults, next, was, cel.WithRatcheting(same))
}

// newListFaults are entries that occur twice where the schema allows each once, unless there were some before.
func (v *version) newListFaults(next, was map[string]any) field.ErrorList {
	if len(listtype.ValidateListSetsAndMaps(nil, v.shape().structural, was)) > 0 {
		return nil
	}
	return listtype.ValidateListSetsAndMaps(nil, v.shape().structural, next)
}

// checkRules evaluates the schema's CEL rules, unless the object's shape is wrong already.
func (v *version) checkRules(faults field.ErrorList, next, was map[string]any, options ...cel.Option) field.ErrorList {
	rules := v.rules()
	if rules == nil {
		return faults
	}
	if slices.ContainsFunc(faults, hidesRules) {
		return append(faults, field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
	}
	var old any
	if was != nil {
		old = was
	}
	more, _ := rules.Validate(context.Background(), nil, v.shape().structural, next, old, celconfig.RuntimeCELCostBudget, options...)
	return append(faults, more...)
}

func hidesRules(f *field.Error) bool {
	switch f.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}

// standardFinalizers are those without a domain that nobody is warned of.
var standardFinalizers = []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents, string(corev1.FinalizerKubernetes)}

// finalizerWarnings is what upstream says of names that others could take, too.
func finalizerWarnings(o, old api.Object) []string {
	added := slices.Clone(o.GetFinalizers())
	if old != nil {
		added = slices.DeleteFunc(added, func(f string) bool { return slices.Contains(old.GetFinalizers(), f) })
	}
	slices.Sort(added)
	var out []string
	for _, f := range slices.Compact(added) {
		for _, text := range utilvalidation.IsQualifiedName(f) {
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: %s", f, text))
		}
		if strings.Contains(f, "/") || slices.Contains(standardFinalizers, f) {
			continue
		}
		text := "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
		if strings.Contains(f, ".") {
			text = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
		}
		out = append(out, fmt.Sprintf("metadata.finalizers: %q: %s", f, text))
	}
	return out
}
