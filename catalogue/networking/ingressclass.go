package networking

import (
	networkingv1 "k8s.io/api/networking/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// ingressClasses describes IngressClass.
func ingressClasses() *catalogue.Resource {
	return catalogue.Describe[networkingv1.IngressClass, networkingv1.IngressClassList](catalogue.Kind[*networkingv1.IngressClass]{
		Resource:   api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "ingressclasses", Kind: "IngressClass"},
		Default:    defaultIngressClass,
		Generation: catalogue.PartOf(func(o *networkingv1.IngressClass) *networkingv1.IngressClassSpec { return &o.Spec }),
	})
}

func defaultIngressClass(c *networkingv1.IngressClass) {
	if c.Spec.Parameters != nil {
		rule.SetIfNil(&c.Spec.Parameters.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
	}
}
