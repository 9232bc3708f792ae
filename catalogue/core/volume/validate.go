package volume

import (
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

var specPath = field.NewPath("spec")

func validateVolume(v *corev1.PersistentVolume) field.ErrorList {
	f := &rule.Faults{}
	validateSpec(f, &v.Spec, v.Name, specPath)
	mountOptions(f, v)
	return f.List
}

// ValidateInline checks the specification of a volume that is part of something else and no object.
func ValidateInline(f *rule.Faults, s *corev1.PersistentVolumeSpec, at *field.Path) {
	refuse := func(name string, set bool) {
		if set {
			f.Forbidden(at.Child(name), "may not be specified in the context of inline volumes")
		}
	}
	refuse("claimRef", s.ClaimRef != nil)
	refuse("capacity", len(s.Capacity) != 0)
	if s.CSI == nil {
		f.Required(at.Child("csi"), "has to be specified in the context of inline volumes")
	}
	modes(f, s, at)
	if p := s.PersistentVolumeReclaimPolicy; p != "" && p != corev1.PersistentVolumeReclaimRetain {
		f.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may only be Retain in the context of inline volumes")
	}
	refuse("nodeAffinity", s.NodeAffinity != nil)
	source(f, s, "", at)
	recycling(f, s, at)
	refuse("storageClassName", s.StorageClassName != "")
	if s.VolumeMode != nil && *s.VolumeMode != corev1.PersistentVolumeFilesystem {
		f.Forbidden(at.Child("volumeMode"), "may not specify volumeMode other than Filesystem in the context of inline volumes")
	}
}

func validateSpec(f *rule.Faults, s *corev1.PersistentVolumeSpec, name string, at *field.Path) {
	modes(f, s, at)
	capacity(f, s.Capacity, at.Child("capacity"))
	if p := s.PersistentVolumeReclaimPolicy; p != "" {
		rule.OneOf(f, at.Child("persistentVolumeReclaimPolicy"), p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
	}
	nodeAffinity(f, s)
	source(f, s, name, at)
	recycling(f, s, at)
	if s.StorageClassName != "" {
		f.DNSSubdomain(at.Child("storageClassName"), s.StorageClassName)
	}
	if s.VolumeMode != nil {
		rule.OneOf(f, at.Child("volumeMode"), *s.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	attributes(f, s, at)
}

func modes(f *rule.Faults, s *corev1.PersistentVolumeSpec, at *field.Path) {
	if len(s.AccessModes) == 0 {
		f.Required(at.Child("accessModes"), "")
	}
	podspec.AccessModes(f, s.AccessModes, at.Child("accessModes"))
}

func recycling(f *rule.Faults, s *corev1.PersistentVolumeSpec, at *field.Path) {
	if s.HostPath != nil && path.Clean(s.HostPath.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		f.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
	}
}

func attributes(f *rule.Faults, s *corev1.PersistentVolumeSpec, at *field.Path) {
	class := s.VolumeAttributesClassName
	if class == nil {
		return
	}
	if *class == "" {
		f.Required(at.Child("volumeAttributesClassName"), "an empty string is disallowed")
	} else {
		f.DNSSubdomain(at.Child("volumeAttributesClassName"), *class)
	}
	if s.CSI == nil {
		f.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName")
	}
}

func capacity(f *rule.Faults, list corev1.ResourceList, at *field.Path) {
	if len(list) == 0 {
		f.Required(at, "")
	}
	if _, ok := list[corev1.ResourceStorage]; !ok || len(list) > 1 {
		f.Add(field.NotSupported(at, list, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for name, q := range list {
		if q.Value() < 0 {
			f.Invalid(at.Key(string(name)), q.Value(), "must be a valid resource quantity")
		}
		if q.Sign() <= 0 {
			f.Invalid(at.Key(string(name)), q.String(), rule.NotPositive)
		}
	}
}

func nodeAffinity(f *rule.Faults, s *corev1.PersistentVolumeSpec) {
	if s.NodeAffinity != nil {
		at := specPath.Child("nodeAffinity")
		if s.NodeAffinity.Required == nil {
			f.Required(at.Child("required"), "must specify required node constraints")
		} else {
			podspec.NodeSelector(f, s.NodeAffinity.Required, true, at.Child("required"))
		}
	}
}

// mountOptions may not be given in the old way for kinds that never read it.
func mountOptions(f *rule.Faults, v *corev1.PersistentVolume) {
	if _, ok := v.Annotations[corev1.MountOptionAnnotation]; !ok {
		return
	}
	s := &v.Spec.PersistentVolumeSource
	if s.HostPath == nil && s.Local == nil && s.CSI == nil && s.FC == nil && s.FlexVolume == nil && s.Flocker == nil && s.PortworxVolume == nil && s.ScaleIO == nil && s.StorageOS == nil {
		return
	}
	f.Forbidden(field.NewPath("metadata").Child("annotations", corev1.MountOptionAnnotation), "may not specify mount options for this volume type")
}

func validateVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	found := validateVolume(v)
	f := &rule.Faults{List: slices.Concat(found, found)} // upstream looks twice
	is, was := v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource
	if was.CSI != nil && was.CSI.ControllerExpandSecretRef == nil && is.CSI != nil && is.CSI.ControllerExpandSecretRef != nil {
		c := *is.CSI // the one field that may be added
		c.ControllerExpandSecretRef = nil
		is.CSI = &c
	}
	if !equality.Semantic.DeepEqual(is, was) {
		f.Forbidden(specPath.Child("persistentvolumesource"), fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", rule.Diff(was, is)))
	}
	f.Unchanged(field.NewPath("volumeMode"), v.Spec.VolumeMode, old.Spec.VolumeMode)
	if old.Spec.NodeAffinity != nil && !sameAffinity(v.Spec.NodeAffinity, old.Spec.NodeAffinity) {
		f.Invalid(field.NewPath("nodeAffinity"), v.Spec.NodeAffinity, rule.Immutable+", except for updating from beta label to GA")
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		f.Forbidden(specPath.Child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden")
	}
	return f.List
}

func volumeWarnings(v, _ *corev1.PersistentVolume) []string {
	var out []string
	if _, ok := v.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		out = append(out, "metadata.annotations["+corev1.BetaStorageClassAnnotation+"]: deprecated since v1.8; use \"storageClassName\" attribute instead")
	}
	if _, ok := v.Annotations[corev1.MountOptionAnnotation]; ok {
		out = append(out, "metadata.annotations["+corev1.MountOptionAnnotation+"]: deprecated since v1.31; use \"mountOptions\" attribute instead")
	}
	s := &v.Spec
	if s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		out = append(out, "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	gone := func(set bool, text string) {
		if set {
			out = append(out, "spec."+text)
		}
	}
	gone(s.CephFS != nil, "cephfs: deprecated in v1.28, non-functional in v1.31+")
	gone(s.PhotonPersistentDisk != nil, "photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+")
	gone(s.ScaleIO != nil, "scaleIO: deprecated in v1.16, non-functional in v1.22+")
	gone(s.StorageOS != nil, "storageOS: deprecated in v1.22, non-functional in v1.25+")
	gone(s.Glusterfs != nil, "glusterfs: deprecated in v1.25, non-functional in v1.26+")
	gone(s.RBD != nil, "rbd: deprecated in v1.28, non-functional in v1.31+")
	return out
}
