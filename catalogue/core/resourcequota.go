package core

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
)

// resourceQuotas describes ResourceQuota.
func resourceQuotas() *catalogue.Resource {
	return catalogue.Describe[corev1.ResourceQuota, corev1.ResourceQuotaList](catalogue.Kind[*corev1.ResourceQuota]{
		Resource:   api.ResourceQuotas.Resource,
		ShortNames: []string{"quota"},
		Spec:       catalogue.PartOf(func(q *corev1.ResourceQuota) *corev1.ResourceQuotaSpec { return &q.Spec }),
		Status:     catalogue.PartOf(func(q *corev1.ResourceQuota) *corev1.ResourceQuotaStatus { return &q.Status }),
	})
}
