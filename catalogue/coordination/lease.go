package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"

	"clipper/api"
	"clipper/catalogue"
)

// leases describes Lease.
func leases() *catalogue.Resource {
	return catalogue.Describe[coordinationv1.Lease, coordinationv1.LeaseList](catalogue.Kind[*coordinationv1.Lease]{
		Resource:       api.Leases.Resource,
		CreateOnUpdate: true,
		NeedsRevision:  true,
	})
}
