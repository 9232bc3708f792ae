package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// mutatingPolicies describes MutatingAdmissionPolicy.
func mutatingPolicies() *catalogue.Resource {
	return catalogue.Describe[admissionv1.MutatingAdmissionPolicy, admissionv1.MutatingAdmissionPolicyList](catalogue.Kind[*admissionv1.MutatingAdmissionPolicy]{
		Resource:      api.Resource{Group: "admissionregistration.k8s.io", Version: "v1", Name: "mutatingadmissionpolicies", Kind: "MutatingAdmissionPolicy"},
		Default:       defaultMutatingPolicy,
		Categories:    []string{"api-extensions"},
		NeedsRevision: true,
		Generation:    catalogue.PartOf(func(o *admissionv1.MutatingAdmissionPolicy) *admissionv1.MutatingAdmissionPolicySpec { return &o.Spec }),
	})
}

func defaultMutatingPolicy(p *admissionv1.MutatingAdmissionPolicy) {
	rule.SetIfNil(&p.Spec.FailurePolicy, admissionv1.Fail)
	defaultMatchResources(p.Spec.MatchConstraints)
}
