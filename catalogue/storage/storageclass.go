package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
)

// storageClasses describes StorageClass.
func storageClasses() *catalogue.Resource {
	return catalogue.Describe[storagev1.StorageClass, storagev1.StorageClassList](catalogue.Kind[*storagev1.StorageClass]{
		Resource:   api.StorageClasses.Resource,
		ShortNames: []string{"sc"},
	})
}
