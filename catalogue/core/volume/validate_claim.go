package volume

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

func validateClaim(c *corev1.PersistentVolumeClaim) field.ErrorList {
	return podspec.ValidateClaim(&c.Spec, specPath, podspec.ClaimOptions{})
}

// validateClaimUpdate: a claim is what quota was counted for, so only its size may change, and its class
// of attributes, once it is bound.
func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	f := &rule.Faults{List: podspec.ValidateClaim(&c.Spec, specPath, podspec.ClaimOptionsFor(&old.Spec))}
	is, was := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	podspec.NormalizeSources(was) // it may have been stored before this was done
	if was.VolumeName == "" {
		was.VolumeName = is.VolumeName
	}
	oldClass, noted := old.Annotations[corev1.BetaStorageClassAnnotation]
	newClass, stillNoted := c.Annotations[corev1.BetaStorageClassAnnotation]
	switch {
	case noted && was.StorageClassName == nil && is.StorageClassName != nil && *is.StorageClassName == oldClass && (!stillNoted || newClass == oldClass):
		is.StorageClassName = nil // from the annotation to the field
	default:
		if newClass != oldClass {
			f.Invalid(field.NewPath("metadata", "annotations").Key(corev1.BetaStorageClassAnnotation), newClass, rule.Immutable)
		}
		if !noted && was.StorageClassName == nil && is.StorageClassName != nil {
			is.StorageClassName = nil // from none to one
		}
	}
	if c.Status.Phase == corev1.ClaimBound {
		if is.Resources.Requests != nil {
			is.Resources.Requests[corev1.ResourceStorage] = was.Resources.Requests[corev1.ResourceStorage]
		}
		is.VolumeAttributesClassName = was.VolumeAttributesClassName
	}
	if !equality.Semantic.DeepEqual(is, was) {
		f.Forbidden(specPath, fmt.Sprintf("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v", rule.Diff(*was, *is)))
	}
	shrink(f, c, old)
	f.Unchanged(field.NewPath("volumeMode"), c.Spec.VolumeMode, old.Spec.VolumeMode)
	attributesClass(f, c, old)
	return f.List
}

// shrink: a request may go down to what the volume has, to leave behind an expansion that failed.
func shrink(f *rule.Faults, c, old *corev1.PersistentVolumeClaim) {
	size, before := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	has := old.Status.Capacity[corev1.ResourceStorage]
	if size.Cmp(before) < 0 && size.Cmp(has) <= 0 {
		f.Forbidden(specPath.Child("resources", "requests", "storage"), "field can not be less than status.capacity")
	}
}

func attributesClass(f *rule.Faults, c, old *corev1.PersistentVolumeClaim) {
	if old.Status.CurrentVolumeAttributesClassName == nil || equality.Semantic.DeepEqual(c.Spec.VolumeAttributesClassName, old.Spec.VolumeAttributesClassName) {
		return
	}
	at := specPath.Child("volumeAttributesClassName")
	switch class := c.Spec.VolumeAttributesClassName; {
	case class == nil:
		f.Forbidden(at, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil")
	case *class == "":
		f.Forbidden(at, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil")
	}
}

func validateClaimStatus(c, _ *corev1.PersistentVolumeClaim) field.ErrorList {
	f, at := &rule.Faults{}, field.NewPath("status")
	if len(c.Spec.AccessModes) == 0 {
		f.Required(field.NewPath("Spec", "accessModes"), "")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Status.Capacity)) {
		notNegative(f, c.Status.Capacity[name], at.Child("capacity").Key(string(name)))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Status.AllocatedResourceStatuses)) {
		claimResource(f, at.Child("allocatedResourceStatuses"), name)
		if !slices.Contains(resizeStates, c.Status.AllocatedResourceStatuses[name]) {
			f.Add(field.NotSupported(at.Child("allocatedResourceStatuses"), name, resizeStates))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Status.AllocatedResources)) {
		allocated(f, name, c.Status.AllocatedResources[name], at.Child("allocatedResources"))
	}
	return f.List
}

func notNegative(f *rule.Faults, q resource.Quantity, at *field.Path) bool {
	if q.Value() < 0 {
		f.Invalid(at, q.Value(), "must be a valid resource quantity")
	}
	return q.Value() >= 0
}

func allocated(f *rule.Faults, name corev1.ResourceName, q resource.Quantity, at *field.Path) {
	before := len(f.List)
	claimResource(f, at, name)
	if at := at.Key(string(name)); len(f.List) == before && notNegative(f, q, at) {
		podspec.Quantity(f, at, corev1.ResourceStorage, q)
	}
}

func claimResource(f *rule.Faults, at *field.Path, name corev1.ResourceName) {
	before := len(f.List)
	f.QualifiedName(at, string(name))
	if len(f.List) == before && podspec.IsNative(name) && name != corev1.ResourceStorage {
		f.Add(field.NotSupported(at, name, []corev1.ResourceName{corev1.ResourceStorage}))
	}
}

func claimWarnings(c, _ *corev1.PersistentVolumeClaim) []string {
	var out []string
	if _, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		out = append(out, "metadata.annotations["+corev1.BetaStorageClassAnnotation+"]: deprecated since v1.8; use \"storageClassName\" attribute instead")
	}
	return append(out, podspec.ClaimWarnings(&c.Spec, field.NewPath("spec"))...)
}

var resizeStates = []corev1.ClaimResourceStatus{
	corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
	corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending,
}
