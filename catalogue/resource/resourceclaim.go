package resource

import (
	resourcev1 "k8s.io/api/resource/v1"

	"clipper/api"
	"clipper/catalogue"
)

// resourceClaims describes ResourceClaim.
func resourceClaims() *catalogue.Resource {
	return catalogue.Describe[resourcev1.ResourceClaim, resourcev1.ResourceClaimList](catalogue.Kind[*resourcev1.ResourceClaim]{
		Resource: api.Resource{Group: "resource.k8s.io", Version: "v1", Name: "resourceclaims", Kind: "ResourceClaim", Namespaced: true},
		Spec:     catalogue.PartOf(func(o *resourcev1.ResourceClaim) *resourcev1.ResourceClaimSpec { return &o.Spec }),
		Status:   catalogue.PartOf(func(o *resourcev1.ResourceClaim) *resourcev1.ResourceClaimStatus { return &o.Status }),
	})
}
