// Package antiaffinity keeps pods from reserving more than a node for themselves: those that must not be with
// others may only mean the same node.
package antiaffinity

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"clipper/apiserver/admission"
)

// A Plugin is the admission plug-in LimitPodHardAntiAffinityTopology.
type Plugin struct{}

// Validate refuses pods with required anti-affinity by another key than the host's name.
func (Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	if !a.Is("", "pods") || a.Operation != admission.Create && a.Operation != admission.Update {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	for _, term := range pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		if term.TopologyKey != corev1.LabelHostname {
			return apierrors.NewForbidden(a.Resource.GroupResource(), pod.Name,
				fmt.Errorf("affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey %v but only key %v is allowed", term.TopologyKey, corev1.LabelHostname))
		}
	}
	return nil
}
