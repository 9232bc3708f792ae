// Package nodetaint marks every new node as not ready, so that no pod lands on it before it has reported.
package nodetaint

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"clipper/apiserver/admission"
)

// A Plugin is the admission plug-in TaintNodesByCondition.
type Plugin struct{}

// Admit taints nodes that are created.
func (Plugin) Admit(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create || !a.Is("", "nodes") {
		return nil
	}
	node := a.Object.(*corev1.Node)
	for _, t := range node.Spec.Taints {
		if t.Key == corev1.TaintNodeNotReady && t.Effect == corev1.TaintEffectNoSchedule {
			return nil
		}
	}
	node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule})
	return nil
}
