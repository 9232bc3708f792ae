package legacy

import (
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
)

// TestBudgetSelectors: an empty selector that was stored as v1beta1 goes on selecting no pods.
func TestBudgetSelectors(t *testing.T) {
	const label = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"
	need := func(keys ...string) *metav1.LabelSelector {
		s := &metav1.LabelSelector{}
		for _, key := range keys {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpDoesNotExist})
		}
		return s
	}
	upgrade := chain(rewritten(func() api.Object { return &policyv1.PodDisruptionBudget{} }), meaning[schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}])
	for _, tt := range []struct {
		name string
		in   *metav1.LabelSelector
		want string
	}{
		{"none", nil, "<none>"},
		{"empty: no pods", &metav1.LabelSelector{}, label},
		{"all pods", need(label), "<none>"},
		{"labels", &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, "app=web"},
		{"the label has no meaning beside others", need("app", label), "!app"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := upgrade(&policyv1beta1.PodDisruptionBudget{Spec: policyv1beta1.PodDisruptionBudgetSpec{Selector: tt.in}})
			if err != nil {
				t.Fatal(err)
			}
			s := out.(*policyv1.PodDisruptionBudget).Spec.Selector
			if got := metav1.FormatLabelSelector(s); got != tt.want || (s == nil) != (tt.in == nil) {
				t.Errorf("selector %s, want %s", got, tt.want)
			}
		})
	}
}
