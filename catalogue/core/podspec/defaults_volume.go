package podspec

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"clipper/catalogue/rule"
)

func defaultVolume(v *corev1.Volume) {
	if noSource(&v.VolumeSource) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	defaultFileVolume(&v.VolumeSource)
	defaultDriverVolume(&v.VolumeSource)
	if v.Image != nil {
		rule.SetIfEmpty(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		DefaultClaim(&v.Ephemeral.VolumeClaimTemplate.Spec)
	}
}

// noSource says that no kind of volume is chosen: every field of a VolumeSource is a pointer.
func noSource(s *corev1.VolumeSource) bool {
	return reflect.ValueOf(s).Elem().IsZero()
}

// DefaultClaim fills in the spec of a PersistentVolumeClaim.
func DefaultClaim(spec *corev1.PersistentVolumeClaimSpec) {
	rule.SetIfNil(&spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	roundUpBoth(&spec.Resources.Requests, &spec.Resources.Limits)
}

// defaultFileVolume defaults the kinds of volume that the node agent fills itself.
func defaultFileVolume(s *corev1.VolumeSource) {
	const mode = 0o644
	if s.HostPath != nil {
		rule.SetIfNil(&s.HostPath.Type, corev1.HostPathUnset)
	}
	if s.Secret != nil {
		rule.SetIfNil(&s.Secret.DefaultMode, mode)
	}
	if s.ConfigMap != nil {
		rule.SetIfNil(&s.ConfigMap.DefaultMode, mode)
	}
	if s.DownwardAPI != nil {
		rule.SetIfNil(&s.DownwardAPI.DefaultMode, mode)
		defaultDownward(s.DownwardAPI.Items)
	}
	if s.Projected == nil {
		return
	}
	rule.SetIfNil(&s.Projected.DefaultMode, mode)
	for i := range s.Projected.Sources {
		source := &s.Projected.Sources[i]
		if source.DownwardAPI != nil {
			defaultDownward(source.DownwardAPI.Items)
		}
		if source.ServiceAccountToken != nil {
			rule.SetIfNil(&source.ServiceAccountToken.ExpirationSeconds, 60*60)
		}
	}
}

func defaultDownward(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}

// defaultDriverVolume defaults the kinds that once had drivers in the tree.
func defaultDriverVolume(s *corev1.VolumeSource) {
	if v := s.ISCSI; v != nil {
		DefaultISCSI(&v.ISCSIInterface)
	}
	if v := s.RBD; v != nil {
		DefaultRBD(&v.RBDPool, &v.RadosUser, &v.Keyring)
	}
	if v := s.ScaleIO; v != nil {
		DefaultScaleIO(&v.StorageMode, &v.FSType)
	}
	DefaultAzureDisk(s.AzureDisk)
}

// DefaultISCSI fills in an iscsi source. Pods and PersistentVolumes have types of their own for it, as for the next two.
func DefaultISCSI(transport *string) { rule.SetIfEmpty(transport, "default") }

// DefaultRBD fills in an rbd source.
func DefaultRBD(pool, user, keyring *string) {
	rule.SetIfEmpty(pool, "rbd")
	rule.SetIfEmpty(user, "admin")
	rule.SetIfEmpty(keyring, "/etc/ceph/keyring")
}

// DefaultScaleIO fills in a scaleIO source.
func DefaultScaleIO(storageMode, fsType *string) {
	rule.SetIfEmpty(storageMode, "ThinProvisioned")
	rule.SetIfEmpty(fsType, "xfs")
}

// DefaultAzureDisk fills in an azureDisk source of a pod or a PersistentVolume.
func DefaultAzureDisk(d *corev1.AzureDiskVolumeSource) {
	if d == nil {
		return
	}
	rule.SetIfNil(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	rule.SetIfNil(&d.FSType, "ext4")
	rule.SetIfNil(&d.ReadOnly, false)
	rule.SetIfNil(&d.Kind, corev1.AzureSharedBlobDisk)
}

// NormalizeSources keeps dataSource and dataSourceRef of a claim equal where both can say the same.
func NormalizeSources(spec *corev1.PersistentVolumeClaimSpec) {
	switch {
	case spec.DataSource != nil && spec.DataSourceRef == nil:
		spec.DataSourceRef = &corev1.TypedObjectReference{
			APIGroup: spec.DataSource.APIGroup, Kind: spec.DataSource.Kind, Name: spec.DataSource.Name,
		}
	case spec.DataSourceRef != nil && spec.DataSource == nil && ptr.Deref(spec.DataSourceRef.Namespace, "") == "":
		spec.DataSource = &corev1.TypedLocalObjectReference{
			APIGroup: spec.DataSourceRef.APIGroup, Kind: spec.DataSourceRef.Kind, Name: spec.DataSourceRef.Name,
		}
	}
}
