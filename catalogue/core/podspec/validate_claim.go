package podspec

import (
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// ClaimOptions say what the old claim has that a new one may not, so that it may stay.
type ClaimOptions struct {
	LaxSelector bool // a label selector that is none
	LaxGroup    bool // a group of its data source, which was not looked at once
}

// ClaimOptionsFor says what an update of old may keep.
func ClaimOptionsFor(old *corev1.PersistentVolumeClaimSpec) ClaimOptions {
	selector := &rule.Faults{}
	selector.Selector(nil, old.Selector, false)
	return ClaimOptions{
		LaxSelector: len(selector.List) > 0,
		LaxGroup: old.DataSource != nil && old.DataSource.APIGroup != nil ||
			old.DataSourceRef != nil && old.DataSourceRef.APIGroup != nil,
	}
}

// ValidateClaim checks the spec of a PersistentVolumeClaim, its own or in a template.
func ValidateClaim(spec *corev1.PersistentVolumeClaimSpec, at *field.Path, o ClaimOptions) field.ErrorList {
	f := &rule.Faults{}
	if len(spec.AccessModes) == 0 {
		f.Required(at.Child("accessModes"), "at least 1 access mode is required")
	}
	f.Selector(at.Child("selector"), spec.Selector, o.LaxSelector)
	AccessModes(f, spec.AccessModes, at.Child("accessModes"))
	storage := at.Child("resources").Key(string(corev1.ResourceStorage))
	switch q, ok := spec.Resources.Requests[corev1.ResourceStorage]; {
	case !ok:
		f.Required(storage, "")
	case q.Sign() <= 0:
		f.Invalid(storage, q.String(), rule.NotPositive)
	}
	class := func(name string, value *string) {
		if value != nil && *value != "" {
			f.DNSSubdomain(at.Child(name), *value)
		}
	}
	class("storageClassName", spec.StorageClassName)
	if spec.VolumeMode != nil {
		rule.OneOf(f, at.Child("volumeMode"), *spec.VolumeMode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	if s := spec.DataSource; s != nil {
		dataSource(f, o, s.APIGroup, s.Kind, s.Name, at.Child("dataSource"))
	}
	if s := spec.DataSourceRef; s != nil {
		dataSource(f, o, s.APIGroup, s.Kind, s.Name, at.Child("dataSourceRef"))
		if s.Namespace != nil && *s.Namespace != "" {
			f.Each(at.Child("dataSourceRef", "namespace"), *s.Namespace, validation.ValidateNamespaceName(*s.Namespace, false))
			if spec.DataSource != nil {
				f.Invalid(at, at.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified")
			}
		} else if d := spec.DataSource; d != nil && (d.Kind != s.Kind || d.Name != s.Name || !equality.Semantic.DeepEqual(d.APIGroup, s.APIGroup)) {
			f.Invalid(at, at.Child("dataSource"), "must match dataSourceRef")
		}
	}
	class("volumeAttributesClassName", spec.VolumeAttributesClassName)
	return f.List
}

// AccessModes checks the access modes of a claim or a volume.
func AccessModes(f *rule.Faults, modes []corev1.PersistentVolumeAccessMode, at *field.Path) {
	shared := []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce}
	for _, mode := range modes {
		rule.OneOf(f, at, mode, append(shared, corev1.ReadWriteOncePod)...)
	}
	isShared := func(m corev1.PersistentVolumeAccessMode) bool { return slices.Contains(shared, m) }
	if slices.Contains(modes, corev1.ReadWriteOncePod) && slices.ContainsFunc(modes, isShared) {
		f.Forbidden(at, "may not use ReadWriteOncePod with other access modes")
	}
}

func dataSource(f *rule.Faults, o ClaimOptions, group *string, kind, name string, at *field.Path) {
	f.Need(at.Child("name"), name)
	f.Need(at.Child("kind"), kind)
	if group != nil && *group != "" {
		if !o.LaxGroup {
			f.DNSSubdomain(at.Child("apiGroup"), *group)
		}
	} else if kind != "PersistentVolumeClaim" {
		f.Invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
	}
}

// TemplateMeta checks the metadata of a template for claims: it may have labels and annotations, nothing else.
func TemplateMeta(f *rule.Faults, m *metav1.ObjectMeta, at *field.Path) {
	f.Add(apivalidation.ValidateAnnotations(m.Annotations, at.Child("annotations"))...)
	f.Labels(at.Child("labels"), m.Labels)
	v := reflect.ValueOf(*m)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name != "Labels" && name != "Annotations" && !v.Field(i).IsZero() {
			f.Forbidden(at.Child(strings.ToLower(name[:1])+name[1:]), "cannot be set")
		}
	}
}
