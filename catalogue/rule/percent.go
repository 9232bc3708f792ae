package rule

import (
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// IntOrPercent asks for a number that is not negative or a percentage. nil is neither.
func (f *Faults) IntOrPercent(at *field.Path, v *intstr.IntOrString) {
	switch {
	case v == nil:
	case v.Type == intstr.String:
		f.Each(at, *v, utilvalidation.IsValidPercent(v.StrVal))
	case v.Type == intstr.Int:
		f.AtLeastZero(at, int64(v.IntValue()))
	default:
		f.Invalid(at, *v, "must be an integer or percentage (e.g '5%%')")
	}
}

// NoMoreThanAll refuses percentages above 100.
func (f *Faults) NoMoreThanAll(at *field.Path, v *intstr.IntOrString) {
	if n, ok := percent(v); ok && n > 100 {
		f.Invalid(at, *v, "must not be greater than 100%")
	}
}

// Amount is the number or the percentage that v says; 0 for nil.
func Amount(v *intstr.IntOrString) int {
	if n, ok := percent(v); ok {
		return n
	}
	if v == nil {
		return 0
	}
	return v.IntValue()
}

func percent(v *intstr.IntOrString) (int, bool) {
	if v == nil || v.Type != intstr.String || len(utilvalidation.IsValidPercent(v.StrVal)) > 0 {
		return 0, false
	}
	n, err := strconv.Atoi(v.StrVal[:len(v.StrVal)-1])
	return n, err == nil
}

// NotDecremented refuses a counter that goes backwards.
func (f *Faults) NotDecremented(at *field.Path, is, was *int32) {
	if was != nil && (is == nil || *is < *was) {
		var value int32
		if is != nil {
			value = *is
		}
		f.Invalid(at, value, "cannot be decremented")
	}
}
