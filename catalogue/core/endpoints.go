package core

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
)

// endpoints describes Endpoints.
func endpoints() *catalogue.Resource {
	return catalogue.Describe[corev1.Endpoints, corev1.EndpointsList](catalogue.Kind[*corev1.Endpoints]{
		Resource:   api.Endpoints.Resource,
		ShortNames: []string{"ep"}, Prefix: "services/endpoints", CreateOnUpdate: true,
	})
}
