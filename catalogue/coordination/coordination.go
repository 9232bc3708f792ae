// Package coordination describes Lease of coordination.k8s.io/v1.
package coordination

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		leases(),
	}
}
