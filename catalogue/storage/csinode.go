package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
)

// csiNodes describes CSINode.
func csiNodes() *catalogue.Resource {
	return catalogue.Describe[storagev1.CSINode, storagev1.CSINodeList](catalogue.Kind[*storagev1.CSINode]{
		Resource:      api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "csinodes", Kind: "CSINode"},
		NeedsRevision: true,
	})
}
