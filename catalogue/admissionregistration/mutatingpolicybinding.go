package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"clipper/api"
	"clipper/catalogue"
)

// mutatingPolicyBindings describes MutatingAdmissionPolicyBinding.
func mutatingPolicyBindings() *catalogue.Resource {
	return catalogue.Describe[admissionv1.MutatingAdmissionPolicyBinding, admissionv1.MutatingAdmissionPolicyBindingList](catalogue.Kind[*admissionv1.MutatingAdmissionPolicyBinding]{
		Resource:      api.Resource{Group: "admissionregistration.k8s.io", Version: "v1", Name: "mutatingadmissionpolicybindings", Kind: "MutatingAdmissionPolicyBinding"},
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
