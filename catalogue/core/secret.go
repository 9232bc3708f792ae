package core

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
)

// secrets describes Secret.
func secrets() *catalogue.Resource {
	return catalogue.Describe[corev1.Secret, corev1.SecretList](catalogue.Kind[*corev1.Secret]{
		Resource: api.Secrets.Resource,
		Fields: map[string]func(*corev1.Secret) string{
			"type": func(s *corev1.Secret) string { return string(s.Type) },
		},
	})
}
