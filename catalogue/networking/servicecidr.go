package networking

import (
	networkingv1 "k8s.io/api/networking/v1"

	"clipper/api"
	"clipper/catalogue"
)

// serviceCIDRs describes ServiceCIDR.
func serviceCIDRs() *catalogue.Resource {
	return catalogue.Describe[networkingv1.ServiceCIDR, networkingv1.ServiceCIDRList](catalogue.Kind[*networkingv1.ServiceCIDR]{
		Resource: api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "servicecidrs", Kind: "ServiceCIDR"},
		Spec:     catalogue.PartOf(func(o *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRSpec { return &o.Spec }),
		Status:   catalogue.PartOf(func(o *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRStatus { return &o.Status }),
	})
}
