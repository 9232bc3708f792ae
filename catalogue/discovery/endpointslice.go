package discovery

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/catalogue"
)

// endpointSlices describes EndpointSlice.
func endpointSlices() *catalogue.Resource {
	return catalogue.Describe[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](catalogue.Kind[*discoveryv1.EndpointSlice]{
		Resource:   api.EndpointSlices.Resource,
		Generation: catalogue.Whole(func(o *discoveryv1.EndpointSlice) *metav1.ObjectMeta { return &o.ObjectMeta }),
	})
}
