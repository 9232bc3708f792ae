package resource

import (
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// maxPolicyValues is upstream's limit.
const maxPolicyValues = 10

// requestPolicy checks how much of a device's capacity one request can take; most is all there is.
func requestPolicy(f *rule.Faults, p *resourcev1.CapacityRequestPolicy, most resource.Quantity, at *field.Path) {
	switch {
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		f.Forbidden(at, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)
	case len(p.ValidValues) > 0 && p.Default == nil:
		f.Required(at.Child("default"), "required when validValues is defined")
	case len(p.ValidValues) > 0:
		policyValues(f, p.ValidValues, *p.Default, most, at.Child("validValues"))
	case p.ValidRange != nil && p.Default == nil:
		f.Required(at.Child("default"), "required when validRange is defined")
	case p.ValidRange != nil:
		policyRange(f, p.ValidRange, *p.Default, most, at.Child("validRange"))
	}
}

func policyValues(f *rule.Faults, list []resource.Quantity, usual, most resource.Quantity, at *field.Path) {
	for i := 1; i < len(list); i++ {
		if list[i-1].Cmp(list[i]) > 0 {
			f.Invalid(at.Index(i), list[i].String(), "values must be sorted in ascending order")
		}
	}
	found := false
	if fewEnough(f, len(list), maxPolicyValues, at) {
		for i, q := range list {
			if q.Cmp(most) > 0 {
				f.Invalid(at.Index(i), q.String(), fmt.Sprintf("option is larger than capacity value: %s", most.String()))
			}
			found = found || q.Cmp(usual) == 0
		}
		unique(f, list, at, func(q resource.Quantity) string { return q.String() })
	}
	if !found {
		f.Invalid(at, usual.String(), "default value is not valid according to the requestPolicy")
	}
}

func policyRange(f *rule.Faults, r *resourcev1.CapacityRequestPolicyRange, usual, most resource.Quantity, at *field.Path) {
	low, high := at.Child("min"), at.Child("max")
	if r.Min == nil {
		f.Required(low, "required when validRange is defined")
		return
	}
	if r.Min.Cmp(most) > 0 {
		f.Invalid(low, r.Min.String(), fmt.Sprintf("min is larger than capacity value: %s", most.String()))
	}
	if usual.Cmp(*r.Min) < 0 {
		f.Invalid(low, usual.String(), fmt.Sprintf("default is less than min: %s", r.Min))
	}
	if r.Max != nil {
		if r.Min.Cmp(*r.Max) > 0 {
			f.Invalid(high, r.Min.String(), fmt.Sprintf("min is larger than max: %s", r.Max))
		}
		if r.Max.Cmp(most) > 0 {
			f.Invalid(high, r.Max.String(), fmt.Sprintf("max is larger than capacity value: %s", most.String()))
		}
		if usual.Cmp(*r.Max) > 0 {
			f.Invalid(high, usual.String(), fmt.Sprintf("default is more than max: %s", r.Max))
		}
	}
	if r.Step != nil {
		policyStep(f, r, usual, most, at.Child("step"))
	}
}

func policyStep(f *rule.Faults, r *resourcev1.CapacityRequestPolicyRange, usual, most resource.Quantity, at *field.Path) {
	first := r.Min.DeepCopy()
	first.Add(*r.Step)
	if first.Cmp(most) > 0 {
		f.Invalid(at, r.Step.String(), fmt.Sprintf("one step %s is larger than capacity value: %s", first.String(), most.String()))
	}
	onStep := func(q resource.Quantity) {
		if step := r.Step.Value(); step == 0 || (q.Value()-r.Min.Value())%step != 0 {
			f.Invalid(at, q.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step, r.Min))
		}
	}
	onStep(usual)
	if r.Max != nil {
		onStep(*r.Max)
	}
}
