package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
)

// volumeAttributesClasses describes VolumeAttributesClass.
func volumeAttributesClasses() *catalogue.Resource {
	return catalogue.Describe[storagev1.VolumeAttributesClass, storagev1.VolumeAttributesClassList](catalogue.Kind[*storagev1.VolumeAttributesClass]{
		Resource:   api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "volumeattributesclasses", Kind: "VolumeAttributesClass"},
		ShortNames: []string{"vac"},
	})
}
