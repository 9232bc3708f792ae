package storage

import (
	"maps"
	"slices"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// csiStorageCapacities describes CSIStorageCapacity.
func csiStorageCapacities() *catalogue.Resource {
	return catalogue.Describe[storagev1.CSIStorageCapacity, storagev1.CSIStorageCapacityList](catalogue.Kind[*storagev1.CSIStorageCapacity]{
		Resource:       api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "csistoragecapacities", Kind: "CSIStorageCapacity", Namespaced: true},
		Warnings:       capacityWarnings,
		ValidateCreate: func(c *storagev1.CSIStorageCapacity) field.ErrorList { return validateCapacity(c, false) },
		Metadata:       catalogue.WholeThenChanges,
		ValidateUpdate: validateCapacityUpdate,
		NeedsRevision:  true,
	})
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
