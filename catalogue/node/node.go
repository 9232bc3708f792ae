// Package node describes RuntimeClass of node.k8s.io/v1.
package node

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		runtimeClasses(),
	}
}
