package rule

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Messages that upstream uses for many fields.
const (
	Immutable   = validation.FieldImmutableErrorMsg
	NotNegative = validation.IsNegativeErrorMsg
	NotPositive = "must be greater than zero"
	NotInteger  = "must be an integer"
	FileMode    = "must be a number between 0 and 0777 (octal), both inclusive"
)

// Faults collects what is wrong with an object, in the order in which it is found.
type Faults struct{ List field.ErrorList }

// Add takes over faults that other packages found.
func (f *Faults) Add(list ...*field.Error) {
	for _, fault := range list {
		fault.BadValue = shown(fault.BadValue)
	}
	f.List = append(f.List, list...)
}

// Required says that a value is missing.
func (f *Faults) Required(at *field.Path, detail string) { f.Add(field.Required(at, detail)) }

// Invalid says why a value cannot stand.
func (f *Faults) Invalid(at *field.Path, value any, detail string) {
	f.Add(field.Invalid(at, value, detail))
}

// Forbidden says why a field may not be set.
func (f *Faults) Forbidden(at *field.Path, detail string) { f.Add(field.Forbidden(at, detail)) }

// Duplicate says that a value was there before.
func (f *Faults) Duplicate(at *field.Path, value any) { f.Add(field.Duplicate(at, value)) }

// NotFound says that what a value refers to is not there.
func (f *Faults) NotFound(at *field.Path, value any) { f.Add(field.NotFound(at, value)) }

// Each makes one fault of every message about a value.
func (f *Faults) Each(at *field.Path, value any, messages []string) {
	for _, message := range messages {
		f.Invalid(at, value, message)
	}
}

// Need asks for a text that is not empty, and says whether it is there.
func (f *Faults) Need(at *field.Path, value string) bool {
	if value == "" {
		f.Required(at, "")
	}
	return value != ""
}

// DNSLabel asks for a label as in host names.
func (f *Faults) DNSLabel(at *field.Path, value string) {
	f.Each(at, value, utilvalidation.IsDNS1123Label(value))
}

// DNSSubdomain asks for a dotted name as in host names.
func (f *Faults) DNSSubdomain(at *field.Path, value string) {
	f.Each(at, value, utilvalidation.IsDNS1123Subdomain(value))
}

// QualifiedName asks for a name with an optional domain before a slash.
func (f *Faults) QualifiedName(at *field.Path, value string) {
	f.Each(at, value, utilvalidation.IsQualifiedName(value))
}

// Port asks for a port number.
func (f *Faults) Port(at *field.Path, port int32) {
	f.Each(at, port, utilvalidation.IsValidPortNum(int(port)))
}

// AtLeastZero refuses negative numbers.
func (f *Faults) AtLeastZero(at *field.Path, n int64) {
	if n < 0 {
		f.Invalid(at, n, NotNegative)
	}
}

// AtLeastZeroIfSet is AtLeastZero for optional numbers.
func (f *Faults) AtLeastZeroIfSet(at *field.Path, n *int32) {
	if n != nil {
		f.AtLeastZero(at, int64(*n))
	}
}

// Positive refuses zero and less.
func (f *Faults) Positive(at *field.Path, n int64) {
	if n <= 0 {
		f.Invalid(at, n, NotPositive)
	}
}

// Quantity refuses negative quantities.
func (f *Faults) Quantity(at *field.Path, q resource.Quantity) {
	if q.Sign() < 0 {
		f.Invalid(at, q.String(), NotNegative)
	}
}

// Mode asks for permission bits, where any are given.
func (f *Faults) Mode(at *field.Path, mode *int32) {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		f.Invalid(at, *mode, FileMode)
	}
}

// Unchanged refuses a change.
func (f *Faults) Unchanged(at *field.Path, value, old any) {
	if !equality.Semantic.DeepEqual(value, old) {
		f.Invalid(at, value, Immutable)
	}
}

// IP asks for an address in canonical form; old ones may stay as they are.
func (f *Faults) IP(at *field.Path, value string, old ...string) {
	f.Add(utilvalidation.IsValidIPForLegacyField(at, value, true, old)...)
}

// CIDR asks for a range in canonical form; old ones may stay as they are.
func (f *Faults) CIDR(at *field.Path, value string, old ...string) {
	f.Add(utilvalidation.IsValidCIDRForLegacyField(at, value, true, old)...)
}

// Labels asks for valid keys and values.
func (f *Faults) Labels(at *field.Path, labels map[string]string) {
	f.Add(metav1validation.ValidateLabels(labels, at)...)
}

// LabelName asks for a valid label key.
func (f *Faults) LabelName(at *field.Path, name string) {
	f.Add(metav1validation.ValidateLabelName(name, at)...)
}

// Selector asks for a valid label selector; nil is one. lax admits values that no label can have.
func (f *Faults) Selector(at *field.Path, s *metav1.LabelSelector, lax bool) {
	options := metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: lax}
	f.Add(metav1validation.ValidateLabelSelector(s, options, at)...)
}

// LaxSelector says that s has values that no label can have: an object that came with them may keep them.
func LaxSelector(s *metav1.LabelSelector) bool {
	return metav1validation.LabelSelectorHasInvalidLabelValue(s)
}

// OneOf asks for one of the allowed values, which the message lists in order of the alphabet.
func OneOf[S ~string](f *Faults, at *field.Path, value S, allowed ...S) {
	if !slices.Contains(allowed, value) {
		sorted := slices.Sorted(slices.Values(allowed))
		f.Add(field.NotSupported(at, value, sorted))
	}
}

// Choice asks for one of the allowed values, and calls an empty one missing. The message keeps their order.
func Choice[S ~string](f *Faults, at *field.Path, value S, allowed ...S) {
	switch {
	case value == "":
		f.Required(at, "")
	case !slices.Contains(allowed, value):
		f.Add(field.NotSupported(at, value, allowed))
	}
}

// A Seen remembers values in order to find the second one.
type Seen[V comparable] map[V]bool

// Again says whether v was there before, and remembers it.
func (s Seen[V]) Again(v V) bool {
	again := s[v]
	s[v] = true
	return again
}
