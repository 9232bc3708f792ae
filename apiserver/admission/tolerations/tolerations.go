// Package tolerations lets every pod stay for five minutes on a node that is not ready or cannot be
// reached, unless the pod says otherwise.
package tolerations

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"clipper/apiserver/admission"
)

// seconds is how long a pod stays.
const seconds = 300

// A Plugin is the admission plug-in DefaultTolerationSeconds.
type Plugin struct{}

// Admit adds the two tolerations to pods that have none for these taints.
func (Plugin) Admit(_ context.Context, a *admission.Attributes) error {
	if !a.Is("", "pods") || (a.Operation != admission.Create && a.Operation != admission.Update) {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if !tolerates(pod.Spec.Tolerations, key) {
			s := int64(seconds)
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &s})
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
