package pipeline

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

// A namespace has a second list of finalizers, in its spec: while the controller empties the namespace
// it stays, in phase Terminating.

// mayGo says whether nothing but metadata.finalizers can hold obj.
func (w *write) mayGo(obj api.Object) bool {
	ns, ok := obj.(*corev1.Namespace)
	return !ok || len(ns.Spec.Finalizers) == 0
}

// prepareDeletion changes what else tells that obj is being deleted.
func prepareDeletion(obj api.Object) {
	ns, ok := obj.(*corev1.Namespace)
	if !ok {
		return
	}
	ns.Status.Phase = corev1.NamespaceTerminating
	ns.DeletionGracePeriodSeconds = nil // upstream sets only the time
	if ns.DeletionTimestamp == nil {
		now := metav1.Now().Rfc3339Copy()
		ns.DeletionTimestamp = &now
	}
}
