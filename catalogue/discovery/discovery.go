// Package discovery describes EndpointSlice of discovery.k8s.io/v1.
package discovery

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		endpointSlices(),
	}
}
