// Package tolerations lets every pod stay for a while on a node that is not ready or cannot be reached, unless the pod
// says otherwise. Two more plug-ins add tolerations where devices or namespaces ask for them.
package tolerations

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"clipper/apiserver/admission"
)

// DefaultSeconds is how long a pod stays if nobody says otherwise. Upstream's figure.
const DefaultSeconds = 300

// A Plugin is the admission plug-in DefaultTolerationSeconds: how long a pod stays.
type Plugin struct{ NotReady, Unreachable int64 }

// Admit adds the two tolerations to pods that have none for these taints.
func (p Plugin) Admit(_ context.Context, a *admission.Attributes) error {
	if !a.Is("", "pods") || (a.Operation != admission.Create && a.Operation != admission.Update) {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	for _, t := range []struct {
		key     string
		seconds int64
	}{{corev1.TaintNodeNotReady, p.NotReady}, {corev1.TaintNodeUnreachable, p.Unreachable}} {
		if !tolerates(pod.Spec.Tolerations, t.key) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
				Key: t.key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &t.seconds})
		}
	}
	return nil
}

func tolerates(all []corev1.Toleration, key string) bool {
	for i := range all {
		t := &all[i]
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
