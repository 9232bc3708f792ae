// Package volume describes PersistentVolume and PersistentVolumeClaim.
package volume

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// Volumes describes PersistentVolume.
func Volumes() *catalogue.Resource {
	return catalogue.Describe[corev1.PersistentVolume, corev1.PersistentVolumeList](catalogue.Kind[*corev1.PersistentVolume]{
		Resource:       api.PersistentVolumes.Resource,
		ValidateCreate: validateVolume,
		Metadata:       catalogue.WholeTwice,
		ValidateUpdate: validateVolumeUpdate,
		ValidateStatus: func(_, _ *corev1.PersistentVolume) field.ErrorList { return nil },
		Warnings:       volumeWarnings,
		PrepareCreate:  prepareVolume,
		PrepareStatus:  stampPhase,
		Columns:        volumeColumns,
		Row:            volumeRow,
		Default:        defaultVolume,
		ShortNames:     []string{"pv"},

		Spec:   catalogue.PartOf(func(v *corev1.PersistentVolume) *corev1.PersistentVolumeSpec { return &v.Spec }),
		Status: catalogue.PartOf(func(v *corev1.PersistentVolume) *corev1.PersistentVolumeStatus { return &v.Status }),
	})
}

func defaultVolume(v *corev1.PersistentVolume) {
	rule.SetIfEmpty(&v.Status.Phase, corev1.VolumePending)
	rule.SetIfEmpty(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	rule.SetIfNil(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	DefaultSource(&v.Spec)
}

// DefaultSource fills in what the kinds of volumes leave out, and rounds the capacity.
func DefaultSource(s *corev1.PersistentVolumeSpec) {
	podspec.RoundUp(s.Capacity)
	podspec.DefaultAzureDisk(s.AzureDisk)
	if s.HostPath != nil {
		rule.SetIfNil(&s.HostPath.Type, corev1.HostPathUnset)
	}
	if v := s.ISCSI; v != nil {
		podspec.DefaultISCSI(&v.ISCSIInterface)
	}
	if v := s.RBD; v != nil {
		podspec.DefaultRBD(&v.RBDPool, &v.RadosUser, &v.Keyring)
	}
	if v := s.ScaleIO; v != nil {
		podspec.DefaultScaleIO(&v.StorageMode, &v.FSType)
	}
}

var volumeColumns = slices.Concat([]table.Column{
	table.Name,
	table.String("Capacity", table.Doc(corev1.PersistentVolumeSpec{}, "capacity")),
	table.String("Access Modes", table.Doc(corev1.PersistentVolumeSpec{}, "accessModes")),
	table.String("Reclaim Policy", table.Doc(corev1.PersistentVolumeSpec{}, "persistentVolumeReclaimPolicy")),
	table.String("Status", table.Doc(corev1.PersistentVolumeStatus{}, "phase")),
	table.String("Claim", table.Doc(corev1.PersistentVolumeSpec{}, "claimRef")),
	table.String("StorageClass", "StorageClass of the pv"),
	table.String("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
	table.String("Reason", table.Doc(corev1.PersistentVolumeStatus{}, "reason")),
	table.Age,
}, table.Wide(
	table.String("VolumeMode", table.Doc(corev1.PersistentVolumeSpec{}, "volumeMode")),
))

func volumeRow(v *corev1.PersistentVolume, now time.Time) []any {
	var claim string
	if ref := v.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	phase := string(v.Status.Phase)
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	capacity := v.Spec.Capacity[corev1.ResourceStorage]
	class := v.Spec.StorageClassName
	if old, ok := v.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		class = old
	}
	return []any{
		v.Name, capacity.String(), accessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
		class, table.OrUnset(v.Spec.VolumeAttributesClassName), v.Status.Reason,
		table.Since(v.CreationTimestamp, now), table.OrUnset(v.Spec.VolumeMode),
	}
}

var modeNames = []struct {
	mode corev1.PersistentVolumeAccessMode
	name string
}{
	{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
}

func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var names []string
	for _, m := range modeNames {
		if slices.Contains(modes, m.mode) {
			names = append(names, m.name)
		}
	}
	return strings.Join(names, ",")
}

func prepareVolume(v *corev1.PersistentVolume) {
	now := rule.Now()
	v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: &now}
}

// stampPhase notes when the phase changed, unless the client said so itself.
func stampPhase(v, old *corev1.PersistentVolume) {
	s, was := &v.Status, &old.Status
	switch {
	case s.Phase == was.Phase && s.LastPhaseTransitionTime == nil:
		s.LastPhaseTransitionTime = was.LastPhaseTransitionTime
	case s.Phase != was.Phase && (s.LastPhaseTransitionTime == nil || s.LastPhaseTransitionTime.Equal(was.LastPhaseTransitionTime)):
		now := rule.Now()
		s.LastPhaseTransitionTime = &now
	}
}
