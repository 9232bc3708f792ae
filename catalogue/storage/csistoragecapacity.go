package storage

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// csiStorageCapacities describes CSIStorageCapacity.
func csiStorageCapacities() *catalogue.Resource {
	return catalogue.Describe[storagev1.CSIStorageCapacity, storagev1.CSIStorageCapacityList](catalogue.Kind[*storagev1.CSIStorageCapacity]{
		Resource:       api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "csistoragecapacities", Kind: "CSIStorageCapacity", Namespaced: true},
		ValidateCreate: validateCapacity,
		ValidateUpdate: validateCapacityUpdate,
		Columns:        csiStorageCapacityColumns,
		Row:            csiStorageCapacityRow,
		NeedsRevision:  true,
	})
}

var csiStorageCapacityColumns = []table.Column{
	table.Name,
	table.String("StorageClassName", table.Doc(storagev1.CSIStorageCapacity{}, "storageClassName")),
	table.String("Capacity", table.Doc(storagev1.CSIStorageCapacity{}, "capacity")),
}

func csiStorageCapacityRow(c *storagev1.CSIStorageCapacity, _ time.Time) []any {
	capacity := table.Unset
	if c.Capacity != nil {
		capacity = c.Capacity.String()
	}
	return []any{c.Name, c.StorageClassName, capacity}
}
