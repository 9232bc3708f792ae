package admissionregistration

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// mutatingPolicies describes MutatingAdmissionPolicy.
func mutatingPolicies() *catalogue.Resource {
	return catalogue.Describe[admissionv1.MutatingAdmissionPolicy, admissionv1.MutatingAdmissionPolicyList](catalogue.Kind[*admissionv1.MutatingAdmissionPolicy]{
		Resource:       api.Resource{Group: "admissionregistration.k8s.io", Version: "v1", Name: "mutatingadmissionpolicies", Kind: "MutatingAdmissionPolicy"},
		AnyFinalizers:  true,
		ValidateCreate: validateMutatingPolicy,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: validateMutatingPolicyUpdate,
		Warnings:       reservedName[*admissionv1.MutatingAdmissionPolicy],
		Columns:        mutatingPolicyColumns,
		Row:            mutatingPolicyRow,
		Default:        defaultMutatingPolicy,
		Categories:     []string{"api-extensions"},
		NeedsRevision:  true,
		Generation:     catalogue.PartOf(func(o *admissionv1.MutatingAdmissionPolicy) *admissionv1.MutatingAdmissionPolicySpec { return &o.Spec }),
	})
}

func defaultMutatingPolicy(p *admissionv1.MutatingAdmissionPolicy) {
	rule.SetIfNil(&p.Spec.FailurePolicy, admissionv1.Fail)
	defaultMatchResources(p.Spec.MatchConstraints)
}

var mutatingPolicyColumns = []table.Column{
	table.Name,
	table.Integer("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
	table.String("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
	table.Age,
}

func mutatingPolicyRow(p *admissionv1.MutatingAdmissionPolicy, now time.Time) []any {
	return []any{p.Name, int64(len(p.Spec.Mutations)), paramKind(p.Spec.ParamKind), table.Since(p.CreationTimestamp, now)}
}
