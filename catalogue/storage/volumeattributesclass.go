package storage

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// volumeAttributesClasses describes VolumeAttributesClass.
func volumeAttributesClasses() *catalogue.Resource {
	return catalogue.Describe[storagev1.VolumeAttributesClass, storagev1.VolumeAttributesClassList](catalogue.Kind[*storagev1.VolumeAttributesClass]{
		Resource:       api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "volumeattributesclasses", Kind: "VolumeAttributesClass"},
		ValidateCreate: validateAttributesClass,
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: validateAttributesClassUpdate,
		Columns:        attributesClassColumns,
		Row:            attributesClassRow,
		ShortNames:     []string{"vac"},
	})
}

var attributesClassColumns = []table.Column{
	table.Name,
	table.String("DriverName", table.Doc(storagev1.VolumeAttributesClass{}, "driverName")),
	table.Age,
}

func attributesClassRow(c *storagev1.VolumeAttributesClass, now time.Time) []any {
	return []any{c.Name, c.DriverName, table.Since(c.CreationTimestamp, now)}
}
