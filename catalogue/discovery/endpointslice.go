package discovery

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// endpointSlices describes EndpointSlice.
func endpointSlices() *catalogue.Resource {
	return catalogue.Describe[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](catalogue.Kind[*discoveryv1.EndpointSlice]{
		Resource:   api.EndpointSlices.Resource,
		Default:    defaultEndpointSlice,
		Generation: catalogue.Whole(func(o *discoveryv1.EndpointSlice) *metav1.ObjectMeta { return &o.ObjectMeta }),
	})
}

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		rule.SetIfNil(&s.Ports[i].Name, "")
		rule.SetIfNil(&s.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}
