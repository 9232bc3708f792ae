package tolerations

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"clipper/apiserver/admission"
	"clipper/catalogue/core/podspec"
)

// Extended is the admission plug-in ExtendedResourceToleration: nodes with rare devices are tainted with the
// resource's name, and those who ask for the resource may go there.
type Extended struct{}

// Admit adds a toleration for each extended resource that the pod's containers request.
func (Extended) Admit(_ context.Context, a *admission.Attributes) error {
	if !a.Is("", "pods") || a.Operation != admission.Create && a.Operation != admission.Update {
		return nil
	}
	pod, asked := a.Object.(*corev1.Pod), map[string]bool{}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			for name := range containers[i].Resources.Requests {
				if podspec.IsExtended(name) {
					asked[string(name)] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		tolerate(&pod.Spec, corev1.Toleration{Key: name, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	return nil
}

// tolerate adds t, in the place of one that is about the same taint.
func tolerate(spec *corev1.PodSpec, t corev1.Toleration) {
	for i := range spec.Tolerations {
		if t.MatchToleration(&spec.Tolerations[i]) {
			if !equality.Semantic.DeepEqual(t, spec.Tolerations[i]) {
				spec.Tolerations[i] = t
			}
			return
		}
	}
	spec.Tolerations = append(spec.Tolerations, t)
}
