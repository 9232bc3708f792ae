package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
)

// csiDrivers describes CSIDriver.
func csiDrivers() *catalogue.Resource {
	return catalogue.Describe[storagev1.CSIDriver, storagev1.CSIDriverList](catalogue.Kind[*storagev1.CSIDriver]{
		Resource:      api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "csidrivers", Kind: "CSIDriver"},
		NeedsRevision: true,
	})
}
