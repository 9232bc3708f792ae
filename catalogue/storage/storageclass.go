package storage

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// storageClasses describes StorageClass.
func storageClasses() *catalogue.Resource {
	return catalogue.Describe[storagev1.StorageClass, storagev1.StorageClassList](catalogue.Kind[*storagev1.StorageClass]{
		Resource:   api.StorageClasses.Resource,
		Default:    defaultStorageClass,
		ShortNames: []string{"sc"},
	})
}

func defaultStorageClass(c *storagev1.StorageClass) {
	rule.SetIfNil(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	rule.SetIfNil(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
}
