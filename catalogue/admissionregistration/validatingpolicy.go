package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// validatingPolicies describes ValidatingAdmissionPolicy.
func validatingPolicies() *catalogue.Resource {
	return catalogue.Describe[admissionv1.ValidatingAdmissionPolicy, admissionv1.ValidatingAdmissionPolicyList](catalogue.Kind[*admissionv1.ValidatingAdmissionPolicy]{
		Resource:      api.Resource{Group: "admissionregistration.k8s.io", Version: "v1", Name: "validatingadmissionpolicies", Kind: "ValidatingAdmissionPolicy"},
		Default:       defaultValidatingPolicy,
		Categories:    []string{"api-extensions"},
		NeedsRevision: true,
		Spec: catalogue.PartOf(func(o *admissionv1.ValidatingAdmissionPolicy) *admissionv1.ValidatingAdmissionPolicySpec {
			return &o.Spec
		}),
		Status: catalogue.PartOf(func(o *admissionv1.ValidatingAdmissionPolicy) *admissionv1.ValidatingAdmissionPolicyStatus {
			return &o.Status
		}),
		Generation: catalogue.PartOf(func(o *admissionv1.ValidatingAdmissionPolicy) *admissionv1.ValidatingAdmissionPolicySpec {
			return &o.Spec
		}),
	})
}

func defaultValidatingPolicy(p *admissionv1.ValidatingAdmissionPolicy) {
	rule.SetIfNil(&p.Spec.FailurePolicy, admissionv1.Fail)
	defaultMatchResources(p.Spec.MatchConstraints)
}
