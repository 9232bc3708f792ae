package core

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
)

// resourceQuotas describes ResourceQuota.
func resourceQuotas() *catalogue.Resource {
	return catalogue.Describe[corev1.ResourceQuota, corev1.ResourceQuotaList](catalogue.Kind[*corev1.ResourceQuota]{
		Resource:   api.ResourceQuotas.Resource,
		Default:    defaultResourceQuota,
		ShortNames: []string{"quota"},
		Spec:       catalogue.PartOf(func(q *corev1.ResourceQuota) *corev1.ResourceQuotaSpec { return &q.Spec }),
		Status:     catalogue.PartOf(func(q *corev1.ResourceQuota) *corev1.ResourceQuotaStatus { return &q.Status }),
	})
}

func defaultResourceQuota(q *corev1.ResourceQuota) {
	podspec.RoundUp(q.Spec.Hard)
	podspec.RoundUp(q.Status.Hard)
	podspec.RoundUp(q.Status.Used)
}
