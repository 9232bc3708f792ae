package networking

import (
	networkingv1 "k8s.io/api/networking/v1"

	"clipper/api"
	"clipper/catalogue"
)

// networkPolicies describes NetworkPolicy.
func networkPolicies() *catalogue.Resource {
	return catalogue.Describe[networkingv1.NetworkPolicy, networkingv1.NetworkPolicyList](catalogue.Kind[*networkingv1.NetworkPolicy]{
		Resource:   api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "networkpolicies", Kind: "NetworkPolicy", Namespaced: true},
		ShortNames: []string{"netpol"},
		Generation: catalogue.PartOf(func(o *networkingv1.NetworkPolicy) *networkingv1.NetworkPolicySpec { return &o.Spec }),
	})
}
