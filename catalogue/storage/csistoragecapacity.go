package storage

import (
	"maps"
	"slices"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// csiStorageCapacities describes CSIStorageCapacity.
func csiStorageCapacities() *catalogue.Resource {
	return catalogue.Describe[storagev1.CSIStorageCapacity, storagev1.CSIStorageCapacityList](catalogue.Kind[*storagev1.CSIStorageCapacity]{
		Resource:       api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "csistoragecapacities", Kind: "CSIStorageCapacity", Namespaced: true},
		Warnings:       capacityWarnings,
		ValidateCreate: func(c *storagev1.CSIStorageCapacity) field.ErrorList { return validateCapacity(c, false) },
		Metadata:       catalogue.WholeThenChanges,
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

func capacityWarnings(c, _ *storagev1.CSIStorageCapacity) []string {
	if c.NodeTopology == nil {
		return nil
	}
	n, at := &rule.Notes{}, field.NewPath("nodeTopology")
	for i, e := range c.NodeTopology.MatchExpressions {
		n.NodeLabel(at.Child("matchExpressions").Index(i).Child("key"), e.Key, true)
	}
	for _, label := range slices.Sorted(maps.Keys(c.NodeTopology.MatchLabels)) {
		n.NodeLabel(at.Child("matchLabels", label), label, false)
	}
	return n.List
}
