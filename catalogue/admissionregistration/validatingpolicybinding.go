package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"clipper/api"
	"clipper/catalogue"
)

// validatingPolicyBindings describes ValidatingAdmissionPolicyBinding.
func validatingPolicyBindings() *catalogue.Resource {
	return catalogue.Describe[admissionv1.ValidatingAdmissionPolicyBinding, admissionv1.ValidatingAdmissionPolicyBindingList](catalogue.Kind[*admissionv1.ValidatingAdmissionPolicyBinding]{
		Resource:      api.Resource{Group: "admissionregistration.k8s.io", Version: "v1", Name: "validatingadmissionpolicybindings", Kind: "ValidatingAdmissionPolicyBinding"},
		Default:       defaultValidatingPolicyBinding,
		Categories:    []string{"api-extensions"},
		NeedsRevision: true,
		Generation: catalogue.PartOf(func(o *admissionv1.ValidatingAdmissionPolicyBinding) *admissionv1.ValidatingAdmissionPolicyBindingSpec {
			return &o.Spec
		}),
	})
}

func defaultValidatingPolicyBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) {
	defaultMatchResources(b.Spec.MatchResources)
}
