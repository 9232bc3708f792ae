package resource

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// deviceClasses describes DeviceClass.
func deviceClasses() *catalogue.Resource {
	return catalogue.Describe[resourcev1.DeviceClass, resourcev1.DeviceClassList](catalogue.Kind[*resourcev1.DeviceClass]{
		Resource:       api.Resource{Group: "resource.k8s.io", Version: "v1", Name: "deviceclasses", Kind: "DeviceClass"},
		ValidateName:   catalogue.OnlyWholeNames,
		ValidateCreate: validateClass,
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: func(c, _ *resourcev1.DeviceClass) field.ErrorList { return validateClass(c) },
		Columns:        deviceClassColumns,
		Row:            deviceClassRow,
		Generation:     catalogue.PartOf(func(o *resourcev1.DeviceClass) *resourcev1.DeviceClassSpec { return &o.Spec }),
	})
}

var deviceClassColumns = []table.Column{
	table.Name,
	table.Age,
}

func deviceClassRow(c *resourcev1.DeviceClass, now time.Time) []any {
	return []any{c.Name, table.Since(c.CreationTimestamp, now)}
}
