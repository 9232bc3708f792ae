package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"

	"clipper/api"
	"clipper/catalogue"
)

// namespaces describes Namespace.
func namespaces() *catalogue.Resource {
	return catalogue.Describe[corev1.Namespace, corev1.NamespaceList](catalogue.Kind[*corev1.Namespace]{
		Resource:     api.Namespaces.Resource,
		ShortNames:   []string{"ns"},
		Verbs:        []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		ValidateName: validation.NameIsDNSLabel,

		Spec:   catalogue.PartOf(func(n *corev1.Namespace) *corev1.NamespaceSpec { return &n.Spec }),
		Status: catalogue.PartOf(func(n *corev1.Namespace) *corev1.NamespaceStatus { return &n.Status }),

		Fields: map[string]func(*corev1.Namespace) string{
			"name":         func(n *corev1.Namespace) string { return n.Name }, // upstream's slip, kept by all since
			"status.phase": func(n *corev1.Namespace) string { return string(n.Status.Phase) },
		},
		Subresources: []catalogue.Subresource{
			{Name: "finalize", Kind: "Namespace", Verbs: []string{"update"}, New: func() runtime.Object { return new(corev1.Namespace) }},
		},
	})
}
