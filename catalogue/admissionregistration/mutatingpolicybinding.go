package admissionregistration

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// mutatingPolicyBindings describes MutatingAdmissionPolicyBinding.
func mutatingPolicyBindings() *catalogue.Resource {
	return catalogue.Describe[admissionv1.MutatingAdmissionPolicyBinding, admissionv1.MutatingAdmissionPolicyBindingList](catalogue.Kind[*admissionv1.MutatingAdmissionPolicyBinding]{
		Resource:       api.Resource{Group: "admissionregistration.k8s.io", Version: "v1", Name: "mutatingadmissionpolicybindings", Kind: "MutatingAdmissionPolicyBinding"},
		AnyFinalizers:  true,
		ValidateCreate: validateMutatingBinding,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: func(o, _ *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
			return validateMutatingBinding(o)
		},
		Warnings:      reservedName[*admissionv1.MutatingAdmissionPolicyBinding],
		Columns:       bindingColumns,
		Row:           mutatingPolicyBindingRow,
		Default:       defaultMutatingPolicyBinding,
		Categories:    []string{"api-extensions"},
		NeedsRevision: true,
		Generation: catalogue.PartOf(func(o *admissionv1.MutatingAdmissionPolicyBinding) *admissionv1.MutatingAdmissionPolicyBindingSpec {
			return &o.Spec
		}),
	})
}

func defaultMutatingPolicyBinding(b *admissionv1.MutatingAdmissionPolicyBinding) {
	defaultMatchResources(b.Spec.MatchResources)
}

func mutatingPolicyBindingRow(b *admissionv1.MutatingAdmissionPolicyBinding, now time.Time) []any {
	return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), table.Since(b.CreationTimestamp, now)}
}
