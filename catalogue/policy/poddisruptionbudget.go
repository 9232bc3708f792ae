package policy

import (
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// podDisruptionBudgets describes PodDisruptionBudget.
func podDisruptionBudgets() *catalogue.Resource {
	return catalogue.Describe[policyv1.PodDisruptionBudget, policyv1.PodDisruptionBudgetList](catalogue.Kind[*policyv1.PodDisruptionBudget]{
		Resource:       api.PodDisruptionBudgets.Resource,
		ValidateCreate: func(b *policyv1.PodDisruptionBudget) field.ErrorList { return validateBudget(b, false) },
		Metadata:       catalogue.NoMetadata, StatusMetadata: catalogue.NoMetadata, MetadataLast: true,
		ValidateUpdate: func(b, old *policyv1.PodDisruptionBudget) field.ErrorList {
			return validateBudget(b, rule.LaxSelector(old.Spec.Selector))
		},
		ValidateStatus: validateBudgetStatus,
		Columns:        budgetColumns,
		Row:            budgetRow,
		ShortNames:     []string{"pdb"},
		NeedsRevision:  true,
		ValidateName:   path.ValidatePathSegmentName,
		AnyFinalizers:  true,
		Spec:           catalogue.PartOf(func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &o.Spec }),
		Status:         catalogue.PartOf(func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetStatus { return &o.Status }),
		Generation:     catalogue.PartOf(func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &o.Spec }),
	})
}

var budgetColumns = []table.Column{
	table.Name,
	table.String("Min Available", "The minimum number of pods that must be available."),
	table.String("Max Unavailable", "The maximum number of pods that may be unavailable."),
	table.Integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
	table.Age,
}

func budgetRow(b *policyv1.PodDisruptionBudget, now time.Time) []any {
	return []any{
		b.Name, orNA(b.Spec.MinAvailable), orNA(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed),
		table.Since(b.CreationTimestamp, now),
	}
}

func orNA(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

func validateBudget(b *policyv1.PodDisruptionBudget, lax bool) field.ErrorList {
	f, at, s := &rule.Faults{}, field.NewPath("spec"), &b.Spec
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		f.Invalid(at, *s, "minAvailable and maxUnavailable cannot be both set")
	}
	f.IntOrPercent(at.Child("minAvailable"), s.MinAvailable)
	f.NoMoreThanAll(at.Child("minAvailable"), s.MinAvailable)
	f.IntOrPercent(at.Child("maxUnavailable"), s.MaxUnavailable)
	f.NoMoreThanAll(at.Child("maxUnavailable"), s.MaxUnavailable)
	f.Selector(at.Child("selector"), s.Selector, lax)
	if p := s.UnhealthyPodEvictionPolicy; p != nil {
		rule.OneOf(f, at.Child("unhealthyPodEvictionPolicy"), *p, policyv1.AlwaysAllow, policyv1.IfHealthyBudget)
	}
	return f.List
}

func validateBudgetStatus(b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	f, at, s := &rule.Faults{}, field.NewPath("status"), &b.Status
	f.Add(metav1validation.ValidateConditions(s.Conditions, at.Child("conditions"))...)
	f.AtLeastZero(at.Child("disruptionsAllowed"), int64(s.DisruptionsAllowed))
	f.AtLeastZero(at.Child("currentHealthy"), int64(s.CurrentHealthy))
	f.AtLeastZero(at.Child("desiredHealthy"), int64(s.DesiredHealthy))
	f.AtLeastZero(at.Child("expectedPods"), int64(s.ExpectedPods))
	return f.List
}
