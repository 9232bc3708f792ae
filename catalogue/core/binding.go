package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/catalogue"
)

// bindings describes Binding, which is only ever posted; its act is that of pods/binding.
func bindings() *catalogue.Resource {
	r := catalogue.Describe[corev1.Binding, metav1.List](catalogue.Kind[*corev1.Binding]{
		Resource: api.Resource{Version: "v1", Name: "bindings", Kind: "Binding", Namespaced: true},
		Verbs:    []string{"create"},
		Unstored: true,
	})
	r.NewList, r.ListKind = nil, ""
	return r
}
