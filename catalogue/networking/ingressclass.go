package networking

import (
	networkingv1 "k8s.io/api/networking/v1"

	"clipper/api"
	"clipper/catalogue"
)

// ingressClasses describes IngressClass.
func ingressClasses() *catalogue.Resource {
	return catalogue.Describe[networkingv1.IngressClass, networkingv1.IngressClassList](catalogue.Kind[*networkingv1.IngressClass]{
		Resource:   api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "ingressclasses", Kind: "IngressClass"},
		Generation: catalogue.PartOf(func(o *networkingv1.IngressClass) *networkingv1.IngressClassSpec { return &o.Spec }),
	})
}
