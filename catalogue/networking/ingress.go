package networking

import (
	networkingv1 "k8s.io/api/networking/v1"

	"clipper/api"
	"clipper/catalogue"
)

// ingresses describes Ingress.
func ingresses() *catalogue.Resource {
	return catalogue.Describe[networkingv1.Ingress, networkingv1.IngressList](catalogue.Kind[*networkingv1.Ingress]{
		Resource:   api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "ingresses", Kind: "Ingress", Namespaced: true},
		ShortNames: []string{"ing"},
		Prefix:     "ingress",
		Spec:       catalogue.PartOf(func(o *networkingv1.Ingress) *networkingv1.IngressSpec { return &o.Spec }),
		Status:     catalogue.PartOf(func(o *networkingv1.Ingress) *networkingv1.IngressStatus { return &o.Status }),
		Generation: catalogue.PartOf(func(o *networkingv1.Ingress) *networkingv1.IngressSpec { return &o.Spec }),
	})
}
