package policy

import (
	policyv1 "k8s.io/api/policy/v1"

	"clipper/api"
	"clipper/catalogue"
)

// podDisruptionBudgets describes PodDisruptionBudget.
func podDisruptionBudgets() *catalogue.Resource {
	return catalogue.Describe[policyv1.PodDisruptionBudget, policyv1.PodDisruptionBudgetList](catalogue.Kind[*policyv1.PodDisruptionBudget]{
		Resource:      api.PodDisruptionBudgets.Resource,
		ShortNames:    []string{"pdb"},
		NeedsRevision: true,
		Spec:          catalogue.PartOf(func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &o.Spec }),
		Status:        catalogue.PartOf(func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetStatus { return &o.Status }),
		Generation:    catalogue.PartOf(func(o *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &o.Spec }),
	})
}
