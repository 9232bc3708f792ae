package apitest

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
)

// stillFinalizing says whether a namespace waits for its spec.finalizers.
func stillFinalizing(o api.Object) bool {
	ns, ok := o.(*corev1.Namespace)
	return ok && len(ns.Spec.Finalizers) > 0
}
