// Package scheduling describes PriorityClass of scheduling.k8s.io/v1.
package scheduling

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		priorityClasses(),
	}
}
