package volume

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// Claims describes PersistentVolumeClaim.
func Claims() *catalogue.Resource {
	return catalogue.Describe[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList](catalogue.Kind[*corev1.PersistentVolumeClaim]{
		Resource:       api.PersistentVolumeClaims.Resource,
		ValidateCreate: validateClaim,
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: validateClaimUpdate,
		ValidateStatus: validateClaimStatus,
		Warnings:       claimWarnings,
		PrepareCreate:  prepareClaim,
		PrepareUpdate:  prepareClaimUpdate,
		Columns:        claimColumns,
		Row:            claimRow,
		Default:        defaultClaim,
		ShortNames:     []string{"pvc"},

		Spec: catalogue.PartOf(func(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaimSpec { return &c.Spec }),
		Status: catalogue.PartOf(func(c *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaimStatus {
			return &c.Status
		}),
	})
}

func defaultClaim(c *corev1.PersistentVolumeClaim) {
	rule.SetIfEmpty(&c.Status.Phase, corev1.ClaimPending)
	podspec.DefaultClaim(&c.Spec)
	podspec.RoundUp(c.Status.Capacity)
	podspec.RoundUp(c.Status.AllocatedResources)
}

var claimColumns = slices.Concat([]table.Column{
	table.Name,
	table.String("Status", table.Doc(corev1.PersistentVolumeClaimStatus{}, "phase")),
	table.String("Volume", table.Doc(corev1.PersistentVolumeClaimSpec{}, "volumeName")),
	table.String("Capacity", table.Doc(corev1.PersistentVolumeClaimStatus{}, "capacity")),
	table.String("Access Modes", table.Doc(corev1.PersistentVolumeClaimStatus{}, "accessModes")),
	table.String("StorageClass", "StorageClass of the pvc"),
	table.String("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
	table.Age,
}, table.Wide(
	table.String("VolumeMode", table.Doc(corev1.PersistentVolumeClaimSpec{}, "volumeMode")),
))

func claimRow(c *corev1.PersistentVolumeClaim, now time.Time) []any {
	phase := string(c.Status.Phase)
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	var capacity, modes string
	if c.Spec.VolumeName != "" {
		q := c.Status.Capacity[corev1.ResourceStorage]
		capacity, modes = q.String(), accessModes(c.Status.AccessModes)
	}
	class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]
	if !ok && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	return []any{
		c.Name, phase, c.Spec.VolumeName, capacity, modes, class, table.OrUnset(c.Spec.VolumeAttributesClassName),
		table.Since(c.CreationTimestamp, now), table.OrUnset(c.Spec.VolumeMode),
	}
}

func prepareClaim(c *corev1.PersistentVolumeClaim) {
	c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	dropForeignSource(&c.Spec)
	dropUnknownSource(&c.Spec)
	podspec.NormalizeSources(&c.Spec)
}

func prepareClaimUpdate(c, old *corev1.PersistentVolumeClaim) {
	if old.Spec.DataSourceRef == nil {
		dropForeignSource(&c.Spec)
	}
	if old.Spec.DataSource == nil && old.Spec.DataSourceRef == nil {
		dropUnknownSource(&c.Spec)
	}
	podspec.NormalizeSources(&c.Spec)
}

// dropForeignSource ignores a source in another namespace: the feature is switched off by default.
func dropForeignSource(s *corev1.PersistentVolumeClaimSpec) {
	if s.DataSourceRef != nil && ptr.Deref(s.DataSourceRef.Namespace, "") != "" {
		s.DataSourceRef = nil
	}
}

// dropUnknownSource ignores what dataSource could never refer to; for such things there is dataSourceRef.
func dropUnknownSource(s *corev1.PersistentVolumeClaimSpec) {
	if s.DataSource == nil || s.DataSourceRef != nil {
		return
	}
	switch group := ptr.Deref(s.DataSource.APIGroup, ""); {
	case s.DataSource.Kind == "PersistentVolumeClaim" && group == "":
	case s.DataSource.Kind == "VolumeSnapshot" && group == "snapshot.storage.k8s.io":
	default:
		s.DataSource = nil
	}
}
