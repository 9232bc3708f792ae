// Package storage holds the plug-ins for claims and volumes: the default storage class, the finalizers
// that keep what is in use, and the rule for growing a claim.
package storage

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/apiserver/admission"
)

const (
	isDefault     = "storageclass.kubernetes.io/is-default-class"
	isDefaultBeta = "storageclass.beta.kubernetes.io/is-default-class"

	// ClaimFinalizer, VolumeFinalizer and AttributesFinalizer keep a claim that a pod uses, a volume that is
	// bound, and a class that either names.
	ClaimFinalizer      = "kubernetes.io/pvc-protection"
	VolumeFinalizer     = "kubernetes.io/pv-protection"
	AttributesFinalizer = "kubernetes.io/vac-protection"
)

// DefaultClass is the plug-in DefaultStorageClass.
type DefaultClass struct {
	classes api.TypedView[*storagev1.StorageClass]
}

// NewDefaultClass returns the plug-in over the storage classes that c sees.
func NewDefaultClass(c api.Client) *DefaultClass { return &DefaultClass{api.StorageClasses.View(c)} }

// Admit sets the class of new claims that name none; an empty name means no class and stays.
func (p *DefaultClass) Admit(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create || !a.Is("", "persistentvolumeclaims") {
		return nil
	}
	claim := a.Object.(*corev1.PersistentVolumeClaim)
	if _, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok || claim.Spec.StorageClassName != nil {
		return nil
	}
	if class := Default(p.classes.List("")); class != nil {
		name := class.Name
		claim.Spec.StorageClassName = &name
	}
	return nil
}

// Default returns the default class: the newest that is marked so, the first by name among equals.
func Default(classes []*storagev1.StorageClass) (found *storagev1.StorageClass) {
	for _, class := range classes {
		if class.Annotations[isDefault] != "true" && class.Annotations[isDefaultBeta] != "true" {
			continue
		}
		if found == nil || found.CreationTimestamp.Before(&class.CreationTimestamp) {
			found = class
		}
	}
	return found
}

// InUseProtection is the plug-in StorageObjectInUseProtection.
type InUseProtection struct{}

// Admit adds the finalizers to what is new. A controller takes them off when nobody uses them.
func (InUseProtection) Admit(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create {
		return nil
	}
	var finalizer string
	switch {
	case a.Is("", "persistentvolumeclaims"):
		finalizer = ClaimFinalizer
	case a.Is("", "persistentvolumes"):
		finalizer = VolumeFinalizer
	case a.Is("storage.k8s.io", "volumeattributesclasses"):
		finalizer = AttributesFinalizer
	default:
		return nil
	}
	if have := a.Object.GetFinalizers(); !slices.Contains(have, finalizer) {
		a.Object.SetFinalizers(append(slices.Clip(have), finalizer))
	}
	return nil
}

// ClaimResize is the plug-in PersistentVolumeClaimResize.
type ClaimResize struct {
	classes api.TypedView[*storagev1.StorageClass]
}

// NewClaimResize returns the plug-in over the storage classes that c sees.
func NewClaimResize(c api.Client) *ClaimResize { return &ClaimResize{api.StorageClasses.View(c)} }

// Validate refuses to let a claim grow that its class cannot grow.
func (p *ClaimResize) Validate(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Update || !a.Is("", "persistentvolumeclaims") {
		return nil
	}
	claim, old := a.Object.(*corev1.PersistentVolumeClaim), a.Old.(*corev1.PersistentVolumeClaim)
	was, is := old.Spec.Resources.Requests[corev1.ResourceStorage], claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if is.Cmp(was) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return a.Forbiddenf("Only bound persistent volume claims can be expanded")
	}
	class, ok := p.classes.Get("", className(claim))
	if !ok || className(old) != class.Name || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion {
		return a.Forbiddenf("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
	}
	return nil
}

// className is the storage class of a claim, "" for none. The annotation is older and comes first.
func className(claim *corev1.PersistentVolumeClaim) string {
	if name, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return name
	}
	if claim.Spec.StorageClassName != nil {
		return *claim.Spec.StorageClassName
	}
	return ""
}
