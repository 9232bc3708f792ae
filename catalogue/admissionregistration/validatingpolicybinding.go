package admissionregistration

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// validatingPolicyBindings describes ValidatingAdmissionPolicyBinding.
func validatingPolicyBindings() *catalogue.Resource {
	return catalogue.Describe[admissionv1.ValidatingAdmissionPolicyBinding, admissionv1.ValidatingAdmissionPolicyBindingList](catalogue.Kind[*admissionv1.ValidatingAdmissionPolicyBinding]{
		Resource:       api.Resource{Group: "admissionregistration.k8s.io", Version: "v1", Name: "validatingadmissionpolicybindings", Kind: "ValidatingAdmissionPolicyBinding"},
		AnyFinalizers:  true,
		ValidateCreate: validateBinding,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: func(o, _ *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList { return validateBinding(o) },
		Warnings:       reservedName[*admissionv1.ValidatingAdmissionPolicyBinding],
		Columns:        bindingColumns,
		Row:            validatingPolicyBindingRow,
		Default:        defaultValidatingPolicyBinding,
		Categories:     []string{"api-extensions"},
		NeedsRevision:  true,
		Generation: catalogue.PartOf(func(o *admissionv1.ValidatingAdmissionPolicyBinding) *admissionv1.ValidatingAdmissionPolicyBindingSpec {
			return &o.Spec
		}),
	})
}

func defaultValidatingPolicyBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) {
	defaultMatchResources(b.Spec.MatchResources)
}

func validatingPolicyBindingRow(b *admissionv1.ValidatingAdmissionPolicyBinding, now time.Time) []any {
	return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), table.Since(b.CreationTimestamp, now)}
}
