package policy

import (
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// podDisruptionBudgets describes PodDisruptionBudget.
func podDisruptionBudgets() *catalogue.Resource {
	return catalogue.Describe[policyv1.PodDisruptionBudget, policyv1.PodDisruptionBudgetList](catalogue.Kind[*policyv1.PodDisruptionBudget]{
		Resource:      api.PodDisruptionBudgets.Resource,
		Columns:       budgetColumns,
		Row:           budgetRow,
		ShortNames:    []string{"pdb"},
		NeedsRevision: true,
		Spec:          catalogue.PartOf(func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &o.Spec }),
		Status:        catalogue.PartOf(func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetStatus { return &o.Status }),
		Generation:    catalogue.PartOf(func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &o.Spec }),
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
