package legacy

import (
	"fmt"
	"slices"

	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

// emptySelector is the label with which upstream writes one version's meaning of an empty selector in the other: in
// policy/v1beta1 it selected no pods, now it selects all.
const emptySelector = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"

func selecting(operator metav1.LabelSelectorOperator) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: emptySelector, Operator: operator}}}
}

// budget keeps the meaning of a selector of policy/v1beta1. Other than alone, the label has none.
func budget(obj api.Object) (api.Object, error) {
	b, ok := obj.(*policyv1.PodDisruptionBudget)
	if !ok {
		return nil, fmt.Errorf("%T is no pod disruption budget", obj)
	}
	s := b.Spec.Selector
	switch {
	case s == nil:
	case apiequality.Semantic.DeepEqual(s, &metav1.LabelSelector{}):
		b.Spec.Selector = selecting(metav1.LabelSelectorOpExists)
	case apiequality.Semantic.DeepEqual(s, selecting(metav1.LabelSelectorOpDoesNotExist)):
		b.Spec.Selector = &metav1.LabelSelector{}
	default:
		s.MatchExpressions = slices.DeleteFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool { return r.Key == emptySelector })
	}
	return b, nil
}
