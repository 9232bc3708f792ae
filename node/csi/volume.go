package csi

import (
	"crypto/sha256"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api/attachment"
)

// A Volume is a volume that a driver provides.
type Volume struct {
	Name           string // of the PersistentVolume; of the pod's volume if it is written in the pod
	Driver, Handle string
	PV             *corev1.PersistentVolume // nil if it is written in the pod
	Inline         *corev1.CSIVolumeSource  // nil if it is a PersistentVolume
	ReadOnly       bool
	Block          bool
}

// Persistent returns the volume behind a PersistentVolume of the CSI kind.
func Persistent(pv *corev1.PersistentVolume, readOnly bool) *Volume {
	return &Volume{Name: pv.Name, Driver: pv.Spec.CSI.Driver, Handle: pv.Spec.CSI.VolumeHandle, PV: pv, ReadOnly: readOnly,
		Block: pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock}
}

// Ephemeral returns the volume that a pod has written into its spec.
func Ephemeral(pod *corev1.Pod, v *corev1.Volume) *Volume {
	return &Volume{Name: v.Name, Driver: v.CSI.Driver, Inline: v.CSI, ReadOnly: v.CSI.ReadOnly != nil && *v.CSI.ReadOnly,
		Handle: fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(pod.UID)+v.Name)))}
}

// UniqueName names the volume in a node's status.
func (v *Volume) UniqueName() corev1.UniqueVolumeName { return attachment.Volume(v.Driver, v.Handle) }

func (v *Volume) lifecycle() storagev1.VolumeLifecycleMode {
	if v.PV == nil {
		return storagev1.VolumeLifecycleEphemeral
	}
	return storagev1.VolumeLifecyclePersistent
}

func (v *Volume) accessMode() corev1.PersistentVolumeAccessMode {
	if v.PV != nil && len(v.PV.Spec.AccessModes) > 0 {
		return v.PV.Spec.AccessModes[0]
	}
	return corev1.ReadWriteOnce
}

// stageSecret, publishSecret and expandSecret name the Secrets that go with a call, nil for none.
func (v *Volume) stageSecret() *corev1.SecretReference {
	if v.PV == nil {
		return nil
	}
	return v.PV.Spec.CSI.NodeStageSecretRef
}

func (v *Volume) publishSecret(pod *corev1.Pod) *corev1.SecretReference {
	switch {
	case v.PV != nil:
		return v.PV.Spec.CSI.NodePublishSecretRef
	case v.Inline.NodePublishSecretRef != nil:
		return &corev1.SecretReference{Namespace: pod.Namespace, Name: v.Inline.NodePublishSecretRef.Name}
	}
	return nil
}

func (v *Volume) fsType() string {
	switch {
	case v.PV != nil:
		return v.PV.Spec.CSI.FSType
	case v.Inline.FSType != nil:
		return *v.Inline.FSType
	}
	return ""
}

func (v *Volume) attributes() map[string]string {
	if v.PV != nil {
		return v.PV.Spec.CSI.VolumeAttributes
	}
	return v.Inline.VolumeAttributes
}

func (v *Volume) mountOptions() []string {
	if v.PV == nil {
		return nil
	}
	return v.PV.Spec.MountOptions
}
