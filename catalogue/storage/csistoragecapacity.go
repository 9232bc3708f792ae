package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
)

// csiStorageCapacities describes CSIStorageCapacity.
func csiStorageCapacities() *catalogue.Resource {
	return catalogue.Describe[storagev1.CSIStorageCapacity, storagev1.CSIStorageCapacityList](catalogue.Kind[*storagev1.CSIStorageCapacity]{
		Resource:      api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "csistoragecapacities", Kind: "CSIStorageCapacity", Namespaced: true},
		NeedsRevision: true,
	})
}
