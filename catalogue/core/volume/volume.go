// Package volume describes PersistentVolume and PersistentVolumeClaim.
package volume

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
)

// Volumes describes PersistentVolume.
func Volumes() *catalogue.Resource {
	return catalogue.Describe[corev1.PersistentVolume, corev1.PersistentVolumeList](catalogue.Kind[*corev1.PersistentVolume]{
		Resource:   api.PersistentVolumes.Resource,
		ShortNames: []string{"pv"},

		Spec:   catalogue.PartOf(func(v *corev1.PersistentVolume) *corev1.PersistentVolumeSpec { return &v.Spec }),
		Status: catalogue.PartOf(func(v *corev1.PersistentVolume) *corev1.PersistentVolumeStatus { return &v.Status }),

		Fields: map[string]func(*corev1.PersistentVolume) string{
			"name": func(v *corev1.PersistentVolume) string { return v.Name }, // upstream's slip, kept by all since
		},
	})
}
