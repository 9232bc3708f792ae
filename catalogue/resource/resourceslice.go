package resource

import (
	resourcev1 "k8s.io/api/resource/v1"

	"clipper/api"
	"clipper/catalogue"
)

// resourceSlices describes ResourceSlice.
func resourceSlices() *catalogue.Resource {
	return catalogue.Describe[resourcev1.ResourceSlice, resourcev1.ResourceSliceList](catalogue.Kind[*resourcev1.ResourceSlice]{
		Resource:   api.Resource{Group: "resource.k8s.io", Version: "v1", Name: "resourceslices", Kind: "ResourceSlice"},
		Generation: catalogue.PartOf(func(o *resourcev1.ResourceSlice) *resourcev1.ResourceSliceSpec { return &o.Spec }),
		Fields: map[string]func(*resourcev1.ResourceSlice) string{
			"spec.driver": func(o *resourcev1.ResourceSlice) string { return o.Spec.Driver },
			"spec.nodeName": func(o *resourcev1.ResourceSlice) string {
				if o.Spec.NodeName == nil {
					return ""
				}
				return *o.Spec.NodeName
			},
		},
	})
}
