package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// limitRanges describes LimitRange.
func limitRanges() *catalogue.Resource {
	return catalogue.Describe[corev1.LimitRange, corev1.LimitRangeList](catalogue.Kind[*corev1.LimitRange]{
		Resource:       api.LimitRanges.Resource,
		ValidateCreate: validateLimitRange,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: func(r, _ *corev1.LimitRange) field.ErrorList { return validateLimitRange(r) },
		Default:        defaultLimitRange,
		ShortNames:     []string{"limits"}, CreateOnUpdate: true,
	})
}

func defaultLimitRange(r *corev1.LimitRange) {
	for i := range r.Spec.Limits {
		item := &r.Spec.Limits[i]
		if item.Type == corev1.LimitTypeContainer {
			item.Default = filled(item.Default, item.Max)
			item.DefaultRequest = filled(item.DefaultRequest, item.Default, item.Min)
		}
		for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			podspec.RoundUp(list)
		}
	}
}

// filled returns list with what it lacks from others, the first of which wins. It is never nil.
func filled(list corev1.ResourceList, others ...corev1.ResourceList) corev1.ResourceList {
	if list == nil {
		list = corev1.ResourceList{}
	}
	for _, other := range others {
		for name, q := range other {
			if _, ok := list[name]; !ok {
				list[name] = q.DeepCopy()
			}
		}
	}
	return list
}

func validateLimitRange(r *corev1.LimitRange) field.ErrorList {
	f := &rule.Faults{}
	seen := rule.Seen[corev1.LimitType]{}
	for i := range r.Spec.Limits {
		item, at := &r.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		limitType(f, item.Type, at.Child("type"))
		if seen.Again(item.Type) {
			f.Duplicate(at.Child("type"), item.Type)
		}
		limitItem(f, item, at)
	}
	return f.List
}

func limitType(f *rule.Faults, t corev1.LimitType, at *field.Path) {
	before := len(f.List)
	f.QualifiedName(at, string(t))
	if len(f.List) > before || strings.Contains(string(t), "/") {
		return
	}
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
	default:
		f.Invalid(at, t, "must be a standard limit type or fully qualified")
	}
}

func limitItem(f *rule.Faults, item *corev1.LimitRangeItem, at *field.Path) {
	names := map[corev1.ResourceName]bool{}
	collect := func(list corev1.ResourceList, field string) {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			names[name] = true
			podspec.LimitName(f, at.Child(field).Key(string(name)), item.Type, name)
		}
	}
	collect(item.Max, "max")
	collect(item.Min, "min")
	if item.Type == corev1.LimitTypePod {
		if len(item.Default) > 0 {
			f.Forbidden(at.Child("default"), "may not be specified when `type` is 'Pod'")
		}
		if len(item.DefaultRequest) > 0 {
			f.Forbidden(at.Child("defaultRequest"), "may not be specified when `type` is 'Pod'")
		}
	} else {
		collect(item.Default, "default")
		collect(item.DefaultRequest, "defaultRequest")
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, least := item.Min[corev1.ResourceStorage]
		_, most := item.Max[corev1.ResourceStorage]
		if !least && !most {
			f.Required(at.Child("limits"), "either minimum or maximum storage value is required, but neither was provided")
		}
	}
	collect(item.MaxLimitRequestRatio, "maxLimitRequestRatio")
	for _, name := range slices.Sorted(maps.Keys(names)) {
		limitOrder(f, item, name, at)
	}
}

// limitOrder asks for min <= default request <= default <= max.
func limitOrder(f *rule.Faults, item *corev1.LimitRangeItem, name corev1.ResourceName, at *field.Path) {
	above := func(a, b corev1.ResourceList, field, text string) {
		x, ok := a[name]
		y, ok2 := b[name]
		if ok && ok2 && x.Cmp(y) > 0 {
			value := y
			if strings.HasPrefix(text, "default request") || field != "defaultRequest" && strings.HasPrefix(text, "min") {
				value = x
			}
			f.Invalid(at.Child(field).Key(string(name)), value, fmt.Sprintf(text, x.String(), y.String()))
		}
	}
	above(item.Min, item.Max, "min", "min value %s is greater than max value %s")
	if item.Type != corev1.LimitTypePod {
		above(item.Min, item.DefaultRequest, "defaultRequest", "min value %s is greater than default request value %s")
		above(item.DefaultRequest, item.Max, "defaultRequest", "default request value %s is greater than max value %s")
		above(item.DefaultRequest, item.Default, "defaultRequest", "default request value %s is greater than default limit value %s")
		above(item.Min, item.Default, "default", "min value %s is greater than default value %s")
		above(item.Default, item.Max, "default", "default value %s is greater than max value %s")
		d, ok := item.Default[name]
		request, ok2 := item.DefaultRequest[name]
		if ok && ok2 && !podspec.IsOvercommittable(name) && d.Cmp(request) != 0 {
			f.Invalid(at.Child("defaultRequest").Key(string(name)), request, fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", d.String(), request.String(), name))
		}
	}
	limitRatio(f, item, name, at.Child("maxLimitRequestRatio").Key(string(name)))
}

func limitRatio(f *rule.Faults, item *corev1.LimitRangeItem, name corev1.ResourceName, at *field.Path) {
	ratio, ok := item.MaxLimitRequestRatio[name]
	if !ok {
		return
	}
	if ratio.Cmp(resource.MustParse("1")) < 0 {
		f.Invalid(at, ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String()))
	}
	least, ok := item.Min[name]
	most, ok2 := item.Max[name]
	if !ok || !ok2 {
		return
	}
	if limit := most.AsApproximateFloat64() / least.AsApproximateFloat64(); ratio.AsApproximateFloat64() > limit {
		f.Invalid(at, ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), limit))
	}
}
