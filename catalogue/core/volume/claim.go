package volume

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// Claims describes PersistentVolumeClaim.
func Claims() *catalogue.Resource {
	return catalogue.Describe[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList](catalogue.Kind[*corev1.PersistentVolumeClaim]{
		Resource:   api.PersistentVolumeClaims.Resource,
		Default:    defaultClaim,
		ShortNames: []string{"pvc"},

		Spec: catalogue.PartOf(func(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaimSpec { return &c.Spec }),
		Status: catalogue.PartOf(func(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaimStatus {
			return &c.Status
		}),

		Fields: map[string]func(*corev1.PersistentVolumeClaim) string{
			"name": func(c *corev1.PersistentVolumeClaim) string { return c.Name }, // upstream's slip, kept by all since
		},
	})
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	rule.SetIfEmpty(&c.Status.Phase, corev1.ClaimPending)
	podspec.DefaultClaim(&c.Spec)
	podspec.RoundUp(c.Status.Capacity)
	podspec.RoundUp(c.Status.AllocatedResources)
}
