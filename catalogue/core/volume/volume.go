// Package volume describes PersistentVolume and PersistentVolumeClaim.
package volume

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// Volumes describes PersistentVolume.
func Volumes() *catalogue.Resource {
	return catalogue.Describe[corev1.PersistentVolume, corev1.PersistentVolumeList](catalogue.Kind[*corev1.PersistentVolume]{
		Resource:   api.PersistentVolumes.Resource,
		Default:    defaultVolume,
		ShortNames: []string{"pv"},

		Spec:   catalogue.PartOf(func(v *corev1.PersistentVolume) *corev1.PersistentVolumeSpec { return &v.Spec }),
		Status: catalogue.PartOf(func(v *corev1.PersistentVolume) *corev1.PersistentVolumeStatus { return &v.Status }),

		Fields: map[string]func(*corev1.PersistentVolume) string{
			"name": func(v *corev1.PersistentVolume) string { return v.Name }, // upstream's slip, kept by all since
		},
	})
}

func defaultVolume(v *corev1.PersistentVolume) {
	rule.SetIfEmpty(&v.Status.Phase, corev1.VolumePending)
	rule.SetIfEmpty(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	rule.SetIfNil(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	podspec.RoundUp(v.Spec.Capacity)
	podspec.DefaultAzureDisk(v.Spec.AzureDisk)
	if v.Spec.HostPath != nil {
		rule.SetIfNil(&v.Spec.HostPath.Type, corev1.HostPathUnset)
	}
	if v.Spec.ISCSI != nil {
		rule.SetIfEmpty(&v.Spec.ISCSI.ISCSIInterface, "default")
	}
	if v.Spec.RBD != nil {
		rule.SetIfEmpty(&v.Spec.RBD.RBDPool, "rbd")
		rule.SetIfEmpty(&v.Spec.RBD.RadosUser, "admin")
		rule.SetIfEmpty(&v.Spec.RBD.Keyring, "/etc/ceph/keyring")
	}
	if v.Spec.ScaleIO != nil {
		rule.SetIfEmpty(&v.Spec.ScaleIO.StorageMode, "ThinProvisioned")
		rule.SetIfEmpty(&v.Spec.ScaleIO.FSType, "xfs")
	}
}
