package networking

import (
	networkingv1 "k8s.io/api/networking/v1"

	"clipper/api"
	"clipper/catalogue"
)

// ipAddresses describes IPAddress.
func ipAddresses() *catalogue.Resource {
	return catalogue.Describe[networkingv1.IPAddress, networkingv1.IPAddressList](catalogue.Kind[*networkingv1.IPAddress]{
		Resource:   api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "ipaddresses", Kind: "IPAddress"},
		ShortNames: []string{"ip"},
	})
}
