// Package service describes Service.
package service

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"clipper/api"
	"clipper/catalogue"
)

// Resource describes Service.
func Resource() *catalogue.Resource {
	return catalogue.Describe[corev1.Service, corev1.ServiceList](catalogue.Kind[*corev1.Service]{
		Resource:       api.Services.Resource,
		ShortNames:     []string{"svc"},
		Categories:     []string{"all"},
		Verbs:          nil,
		Prefix:         "services/specs",
		CreateOnUpdate: true,
		ValidateName:   apivalidation.NameIsDNS1035Label,

		Spec:   catalogue.PartOf(func(s *corev1.Service) *corev1.ServiceSpec { return &s.Spec }),
		Status: catalogue.PartOf(func(s *corev1.Service) *corev1.ServiceStatus { return &s.Status }),

		Fields: map[string]func(*corev1.Service) string{
			"spec.clusterIP": func(s *corev1.Service) string { return s.Spec.ClusterIP },
			"spec.type":      func(s *corev1.Service) string { return string(s.Spec.Type) },
		},
		Subresources: []catalogue.Subresource{
			{Name: "proxy", Kind: "ServiceProxyOptions", Verbs: []string{"create", "delete", "get", "patch", "update"}},
		},
	})
}
