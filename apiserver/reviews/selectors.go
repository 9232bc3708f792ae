package reviews

import (
	"encoding/json"
	"errors"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateSpec(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	faults := validateAttributes(spec.ResourceAttributes, spec.NonResourceAttributes)
	if spec.User == "" && len(spec.Groups) == 0 {
		faults = append(faults, field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified"))
	}
	return append(faults, validateSelectors(spec.ResourceAttributes)...)
}

func validateAttributes(res *authorizationv1.ResourceAttributes, url *authorizationv1.NonResourceAttributes) field.ErrorList {
	path := field.NewPath("spec")
	switch {
	case res != nil && url != nil:
		return field.ErrorList{field.Invalid(path.Child("nonResourceAttributes"), (*internalPath)(url), "cannot be specified in combination with resourceAttributes")}
	case res == nil && url == nil:
		return field.ErrorList{field.Invalid(path.Child("resourceAttributes"), url, "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	}
	return nil
}

// An internalPath is shown as upstream shows its own form of it, whose fields have no other names.
type internalPath authorizationv1.NonResourceAttributes

// MarshalJSON implements json.Marshaler.
func (p internalPath) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct{ Path, Verb string }{p.Path, p.Verb})
}

// noMetadata checks that a review, which is no object, does not look like one.
func noMetadata(m metav1.ObjectMeta, msg string) field.ErrorList {
	return noMetadataBut(m, "", msg)
}

func noMetadataBut(m metav1.ObjectMeta, namespace, msg string) field.ErrorList {
	bare := m
	bare.ManagedFields = nil
	if bare.Namespace == namespace {
		bare.Namespace = ""
	}
	if equality.Semantic.DeepEqual(metav1.ObjectMeta{}, bare) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), m, msg)}
}

// validateSelectors lets operators through that are not known here: clients may be newer, and a requirement that is
// left out never grants more.
func validateSelectors(res *authorizationv1.ResourceAttributes) (faults field.ErrorList) {
	if res == nil {
		return nil
	}
	path := field.NewPath("spec", "resourceAttributes")
	if s, path := res.FieldSelector, path.Child("fieldSelector"); s != nil {
		faults = append(faults, oneForm(s.RawSelector, len(s.Requirements), path)...)
		for i, r := range s.Requirements {
			faults = append(faults, metavalidation.ValidateFieldSelectorRequirement(r,
				metavalidation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, path.Child("requirements").Index(i))...)
		}
	}
	if s, path := res.LabelSelector, path.Child("labelSelector"); s != nil {
		faults = append(faults, oneForm(s.RawSelector, len(s.Requirements), path)...)
		for i, r := range s.Requirements {
			faults = append(faults, metavalidation.ValidateLabelSelectorRequirement(r,
				metavalidation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, path.Child("requirements").Index(i))...)
		}
	}
	return faults
}

func oneForm(raw string, requirements int, path *field.Path) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(path.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(path.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", path))}
	}
	return nil
}

// fieldRequirements turns a field selector into what authorizers read. What cannot be read is left out, which never
// grants more; the error says so.
func fieldRequirements(s *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	if s == nil {
		return nil, nil
	}
	if s.RawSelector != "" {
		sel, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return nil, err
		}
		return sel.Requirements(), nil
	}
	var out fields.Requirements
	var faults []error
	for _, req := range s.Requirements {
		op, ok := fieldOperators[req.Operator]
		switch {
		case len(req.Values) > 1:
			faults = append(faults, errors.New("fieldSelectors do not yet support multiple values"))
		case !ok:
			faults = append(faults, fmt.Errorf("%q is not a field selector operator that is supported", req.Operator))
		case len(req.Values) != 1:
			faults = append(faults, fmt.Errorf("fieldSelectors %s must have one value", req.Operator))
		default:
			out = append(out, fields.Requirement{Field: req.Key, Operator: op, Value: req.Values[0]})
		}
	}
	return out, utilerrors.NewAggregate(faults)
}

var fieldOperators = map[metav1.FieldSelectorOperator]selection.Operator{
	metav1.FieldSelectorOpIn: selection.Equals, metav1.FieldSelectorOpNotIn: selection.NotEquals,
}

var labelOperators = map[metav1.LabelSelectorOperator]selection.Operator{
	metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
	metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
}

// labelRequirements is fieldRequirements for labels.
func labelRequirements(s *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	if s == nil {
		return nil, nil
	}
	if s.RawSelector != "" {
		sel, err := labels.Parse(s.RawSelector)
		if err != nil {
			return nil, err
		}
		out, _ := sel.Requirements()
		return out, nil
	}
	var out labels.Requirements
	var faults []error
	for _, req := range s.Requirements {
		op, ok := labelOperators[req.Operator]
		if !ok {
			faults = append(faults, fmt.Errorf("%q is not a valid label selector operator", req.Operator))
			continue
		}
		r, err := labels.NewRequirement(req.Key, op, req.Values)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		out = append(out, *r)
	}
	return out, utilerrors.NewAggregate(faults)
}
