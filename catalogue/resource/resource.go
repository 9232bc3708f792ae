// Package resource describes the kinds of dynamic resource allocation, resource.k8s.io/v1.
package resource

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		deviceClasses(),
		resourceClaims(),
		resourceClaimTemplates(),
		resourceSlices(),
	}
}
