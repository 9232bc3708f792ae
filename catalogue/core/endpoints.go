package core

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// endpoints describes Endpoints.
func endpoints() *catalogue.Resource {
	return catalogue.Describe[corev1.Endpoints, corev1.EndpointsList](catalogue.Kind[*corev1.Endpoints]{
		Resource:   api.Endpoints.Resource,
		Default:    defaultEndpoints,
		ShortNames: []string{"ep"}, Prefix: "services/endpoints", CreateOnUpdate: true,
	})
}

func defaultEndpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			rule.SetIfEmpty(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}
