package resource

import (
	resourcev1 "k8s.io/api/resource/v1"

	"clipper/api"
	"clipper/catalogue"
)

// deviceClasses describes DeviceClass.
func deviceClasses() *catalogue.Resource {
	return catalogue.Describe[resourcev1.DeviceClass, resourcev1.DeviceClassList](catalogue.Kind[*resourcev1.DeviceClass]{
		Resource:   api.Resource{Group: "resource.k8s.io", Version: "v1", Name: "deviceclasses", Kind: "DeviceClass"},
		Generation: catalogue.PartOf(func(o *resourcev1.DeviceClass) *resourcev1.DeviceClassSpec { return &o.Spec }),
	})
}
