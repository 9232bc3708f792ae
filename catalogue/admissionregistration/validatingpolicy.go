package admissionregistration

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// validatingPolicies describes ValidatingAdmissionPolicy.
func validatingPolicies() *catalogue.Resource {
	return catalogue.Describe[admissionv1.ValidatingAdmissionPolicy, admissionv1.ValidatingAdmissionPolicyList](catalogue.Kind[*admissionv1.ValidatingAdmissionPolicy]{
		Resource:       api.Resource{Group: "admissionregistration.k8s.io", Version: "v1", Name: "validatingadmissionpolicies", Kind: "ValidatingAdmissionPolicy"},
		AnyFinalizers:  true,
		ValidateCreate: validatePolicy,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: validatePolicyUpdate,
		Warnings:       reservedName[*admissionv1.ValidatingAdmissionPolicy],
		Columns:        validatingPolicyColumns,
		Row:            validatingPolicyRow,
		PrepareStatus: func(p, old *admissionv1.ValidatingAdmissionPolicy) {
			metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &old.ObjectMeta)
		},
		ValidateStatus: validatePolicyStatus,
		Default:        defaultValidatingPolicy,
		Categories:     []string{"api-extensions"},
		NeedsRevision:  true,
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

var validatingPolicyColumns = []table.Column{
	table.Name,
	table.Integer("Validations", "Validations indicates the number of validation rules defined in this configuration"),
	table.String("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
	table.Age,
}

func validatingPolicyRow(p *admissionv1.ValidatingAdmissionPolicy, now time.Time) []any {
	return []any{p.Name, int64(len(p.Spec.Validations)), paramKind(p.Spec.ParamKind), table.Since(p.CreationTimestamp, now)}
}
