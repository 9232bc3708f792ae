package storage

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// csiNodes describes CSINode.
func csiNodes() *catalogue.Resource {
	return catalogue.Describe[storagev1.CSINode, storagev1.CSINodeList](catalogue.Kind[*storagev1.CSINode]{
		Resource:       api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "csinodes", Kind: "CSINode"},
		ValidateCreate: validateCSINode,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: validateCSINodeUpdate,
		Columns:        csiNodeColumns,
		Row:            csiNodeRow,
		NeedsRevision:  true,
	})
}

var csiNodeColumns = []table.Column{
	table.Name,
	table.Integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node"),
	table.Age,
}

func csiNodeRow(n *storagev1.CSINode, now time.Time) []any {
	return []any{n.Name, int64(len(n.Spec.Drivers)), table.Since(n.CreationTimestamp, now)}
}
