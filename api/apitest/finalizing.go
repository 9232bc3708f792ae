package apitest

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
)

// finalizing says whether finalizers keep an object; a namespace has some of its own.
func finalizing(o api.Object) bool {
	ns, ok := o.(*corev1.Namespace)
	return len(o.GetFinalizers()) > 0 || ok && len(ns.Spec.Finalizers) > 0
}

// waits says whether an object that is being deleted is still to be there: for its finalizers, or because it has time.
func waits(o api.Object) bool {
	grace := o.GetDeletionGracePeriodSeconds()
	return finalizing(o) || grace != nil && *grace > 0
}
