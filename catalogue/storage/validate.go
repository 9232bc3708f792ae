package storage

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/core/volume"
	"clipper/catalogue/rule"
)

// Limits of upstream.
const (
	maxParameters   = 512
	maxParameter    = 256 * 1024
	maxMetadata     = 256 * 1024
	maxErrorMessage = 1024
	maxNodeID       = 256
)

func provisioner(f *rule.Faults, name string, at *field.Path) {
	if f.Need(at, name) {
		f.QualifiedName(at, strings.ToLower(name))
	}
}

func parameters(f *rule.Faults, set map[string]string, emptyToo bool, at *field.Path) {
	if len(set) > maxParameters {
		f.Add(field.TooLong(at, "", maxParameters))
	}
	size := 0
	for key, value := range set {
		if key == "" {
			f.Invalid(at, key, "field can not be empty.")
		}
		size += len(key) + len(value)
	}
	if size > maxParameter {
		f.Add(field.TooLong(at, "", maxParameter))
	}
	if len(set) == 0 && !emptyToo {
		f.Required(at, "must contain at least one key/value pair")
	}
}

func validateStorageClass(c *storagev1.StorageClass) field.ErrorList {
	f := &rule.Faults{}
	provisioner(f, c.Provisioner, field.NewPath("provisioner"))
	parameters(f, c.Parameters, true, field.NewPath("parameters"))
	if p := c.ReclaimPolicy; p != nil && *p != "" {
		rule.OneOf(f, field.NewPath("reclaimPolicy"), *p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	}
	if m := c.VolumeBindingMode; m == nil {
		f.Required(field.NewPath("volumeBindingMode"), "")
	} else {
		rule.OneOf(f, field.NewPath("volumeBindingMode"), *m, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	}
	for i, term := range c.AllowedTopologies {
		at := field.NewPath("allowedTopologies").Index(i)
		topologyTerm(f, term, at)
		if repeated(c.AllowedTopologies, i) {
			f.Duplicate(at.Child("matchLabelExpressions"), "")
		}
	}
	return f.List
}

// repeated says whether term i says what an earlier one does. An empty term counts as one that is always there.
func repeated(terms []corev1.TopologySelectorTerm, i int) bool {
	this := topology(terms[i])
	return len(this) == 0 || slices.ContainsFunc(terms[:i], func(t corev1.TopologySelectorTerm) bool {
		return maps.EqualFunc(this, topology(t), sets.Set[string].Equal)
	})
}

func topology(t corev1.TopologySelectorTerm) map[string]sets.Set[string] {
	out := map[string]sets.Set[string]{}
	for _, r := range t.MatchLabelExpressions {
		out[r.Key] = sets.New(r.Values...)
	}
	return out
}

func topologyTerm(f *rule.Faults, t corev1.TopologySelectorTerm, at *field.Path) {
	keys := rule.Seen[string]{}
	for i, r := range t.MatchLabelExpressions {
		path := at.Child("matchLabelExpressions").Index(i)
		values := rule.Seen[string]{}
		if len(r.Values) == 0 {
			f.Required(path.Child("values"), "")
		}
		for j, value := range r.Values {
			if values.Again(value) {
				f.Duplicate(path.Child("values").Index(j), value)
			}
		}
		f.LabelName(path.Child("key"), r.Key)
		if keys.Again(r.Key) {
			f.Duplicate(path.Child("key"), r.Key)
		}
	}
}

func validateStorageClassUpdate(c, old *storagev1.StorageClass) field.ErrorList {
	f := &rule.Faults{List: validateStorageClass(c)}
	f.Unchanged(field.NewPath("parameters"), c.Parameters, old.Parameters)
	f.Unchanged(field.NewPath("provisioner"), c.Provisioner, old.Provisioner)
	f.Unchanged(field.NewPath("reclaimPolicy"), c.ReclaimPolicy, old.ReclaimPolicy)
	f.Unchanged(field.NewPath("volumeBindingMode"), c.VolumeBindingMode, old.VolumeBindingMode)
	return f.List
}

func validateAttributesClass(c *storagev1.VolumeAttributesClass) field.ErrorList {
	f := &rule.Faults{}
	provisioner(f, c.DriverName, field.NewPath("driverName"))
	parameters(f, c.Parameters, false, field.NewPath("parameters"))
	return f.List
}

func validateAttributesClassUpdate(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
	f := &rule.Faults{}
	if c.DriverName != old.DriverName {
		f.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden.")
	}
	if !maps.Equal(c.Parameters, old.Parameters) {
		f.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden.")
	}
	f.Add(validateAttributesClass(c)...)
	return f.List
}

func validateAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	f, at, s := &rule.Faults{}, field.NewPath("spec"), &a.Spec
	podspec.CSIDriverName(f, s.Attacher, at.Child("attacher"))
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	source := at.Child("source")
	switch inline, name := s.Source.InlineVolumeSpec, s.Source.PersistentVolumeName; {
	case inline == nil && name == nil:
		f.Required(source, one)
	case inline != nil && name != nil:
		f.Forbidden(source, one)
	case name != nil && *name == "":
		f.Required(source.Child("persistentVolumeName"), "must specify non empty persistentVolumeName")
	case name == nil:
		volume.ValidateInline(f, inline, source.Child("inlineVolumeSpec"))
	}
	f.DNSSubdomain(at.Child("nodeName"), s.NodeName)
	if name := s.Source.PersistentVolumeName; name != nil {
		f.DNSSubdomain(source.Child("persistentVolumeName"), *name)
	}
	attachmentStatus(f, &a.Status)
	return f.List
}

func attachmentStatus(f *rule.Faults, s *storagev1.VolumeAttachmentStatus) {
	at, size := field.NewPath("status"), 0
	for key, value := range s.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > maxMetadata {
		f.Add(field.TooLong(at.Child("attachmentMetadata"), "", maxMetadata))
	}
	volumeError := func(e *storagev1.VolumeError, at *field.Path) {
		if e == nil {
			return
		}
		if len(e.Message) > maxErrorMessage {
			f.Add(field.TooLong(at.Child("message"), "", maxMetadata))
		}
		if e.ErrorCode != nil && *e.ErrorCode < 0 {
			f.Invalid(at.Child("errorCode"), *e.ErrorCode, utilvalidation.InclusiveRangeError(0, math.MaxInt32))
		}
	}
	volumeError(s.AttachError, at.Child("attachError"))
	volumeError(s.DetachError, at.Child("detachError"))
}

func validateAttachmentUpdate(a, old *storagev1.VolumeAttachment) field.ErrorList {
	f := &rule.Faults{List: validateAttachment(a)}
	f.Unchanged(field.NewPath("spec"), a.Spec, old.Spec)
	return f.List
}

func validateCSINode(n *storagev1.CSINode) field.ErrorList {
	f := &rule.Faults{}
	names := rule.Seen[string]{}
	for i, d := range n.Spec.Drivers {
		at := field.NewPath("spec", "drivers").Index(i)
		podspec.CSIDriverName(f, d.Name, at.Child("name"))
		f.Need(at.Child("nodeID"), d.NodeID)
		if len(d.NodeID) > maxNodeID {
			f.Invalid(at.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", maxNodeID))
		}
		if d.Allocatable != nil {
			f.AtLeastZeroIfSet(at.Child("allocatable", "count"), d.Allocatable.Count)
		}
		if names.Again(d.Name) {
			f.Duplicate(at.Child("name"), d.Name)
		}
		keys := rule.Seen[string]{}
		for _, key := range d.TopologyKeys {
			f.Need(at, key)
			if keys.Again(key) {
				f.Duplicate(at, key)
			}
			f.QualifiedName(at, key)
		}
	}
	return f.List
}

// validateCSINodeUpdate: what a driver said of itself stays, but for how many volumes fit.
func validateCSINodeUpdate(n, old *storagev1.CSINode) field.ErrorList {
	f := &rule.Faults{List: validateCSINode(n)}
	for _, was := range old.Spec.Drivers {
		for _, is := range n.Spec.Drivers {
			if is.Name == was.Name {
				is.Allocatable, was.Allocatable = nil, nil
				f.Unchanged(field.NewPath("spec", "drivers"), is, was)
			}
		}
	}
	return f.List
}

func validateCSIDriver(d *storagev1.CSIDriver) field.ErrorList {
	f, at, s := &rule.Faults{}, field.NewPath("spec"), &d.Spec
	need := func(name string, p *bool) {
		if p == nil {
			f.Required(at.Child(name), "")
		}
	}
	need("attachedRequired", s.AttachRequired)
	need("podInfoOnMount", s.PodInfoOnMount)
	need("storageCapacity", s.StorageCapacity)
	if p := s.FSGroupPolicy; p != nil {
		rule.OneOf(f, at.Child("fsGroupPolicy"), *p, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy)
	}
	tokenRequests(f, s.TokenRequests, at.Child("tokenRequests"))
	for _, mode := range s.VolumeLifecycleModes {
		if known := []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral}; !slices.Contains(known, mode) {
			f.Add(field.NotSupported(at.Child("volumeLifecycleModes"), mode, known))
		}
	}
	need("seLinuxMount", s.SELinuxMount)
	if p := s.NodeAllocatableUpdatePeriodSeconds; p != nil && *p < 10 {
		f.Invalid(at.Child("nodeAllocatableUpdatePeriodSeconds"), *p, "must be greater than or equal to 10 seconds")
	}
	if p := s.ServiceAccountTokenInSecrets; p != nil && len(s.TokenRequests) == 0 {
		f.Invalid(at.Child("serviceAccountTokenInSecrets"), p, "serviceAccountTokenInSecrets is set but no tokenRequests are specified")
	}
	return f.List
}

func tokenRequests(f *rule.Faults, list []storagev1.TokenRequest, at *field.Path) {
	audiences := rule.Seen[string]{}
	for i, r := range list {
		path := at.Index(i)
		if audiences.Again(r.Audience) {
			f.Duplicate(path.Child("audience"), r.Audience)
			continue
		}
		if r.ExpirationSeconds == nil {
			continue
		}
		if *r.ExpirationSeconds < 10*60 {
			f.Invalid(path.Child("expirationSeconds"), *r.ExpirationSeconds, "may not specify a duration less than 10 minutes")
		}
		if *r.ExpirationSeconds > 1<<32 {
			f.Invalid(path.Child("expirationSeconds"), *r.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds")
		}
	}
}

func validateCSIDriverUpdate(d, old *storagev1.CSIDriver) field.ErrorList {
	f := &rule.Faults{List: validateCSIDriver(d)}
	f.Unchanged(field.NewPath("spec", "attachedRequired"), d.Spec.AttachRequired, old.Spec.AttachRequired)
	f.Unchanged(field.NewPath("spec", "volumeLifecycleModes"), d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes)
	return f.List
}

func validateCapacity(c *storagev1.CSIStorageCapacity, lax bool) field.ErrorList {
	f := &rule.Faults{}
	f.Selector(field.NewPath("nodeTopology"), c.NodeTopology, lax)
	f.DNSSubdomain(field.NewPath("storageClassName"), c.StorageClassName)
	if c.Capacity != nil {
		f.Quantity(field.NewPath("capacity"), *c.Capacity)
	}
	return f.List
}

func validateCapacityUpdate(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
	f := &rule.Faults{List: validateCapacity(c, rule.LaxSelector(old.NodeTopology))}
	f.Unchanged(field.NewPath("nodeTopology"), c.NodeTopology, old.NodeTopology)
	f.Unchanged(field.NewPath("storageClassName"), c.StorageClassName, old.StorageClassName)
	return f.List
}
