// Package priority says which pods a node depends on, and which pod may take another's place.
package priority

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/node/manifests"
)

// SystemCritical is the priority from which on pods are critical: that of system-cluster-critical.
const SystemCritical = 2_000_000_000

// Critical reports whether the node itself depends on a pod: it is never evicted, and others make room for it.
func Critical(pod *corev1.Pod) bool {
	return manifests.IsStatic(pod) || manifests.IsMirror(pod) || (pod.Spec.Priority != nil && *pod.Spec.Priority >= SystemCritical)
}

// Over reports whether pod a may take the place of pod b.
func Over(a, b *corev1.Pod) bool {
	if Critical(a) && !Critical(b) {
		return true
	}
	return a.Spec.Priority != nil && b.Spec.Priority != nil && *a.Spec.Priority > *b.Spec.Priority
}
