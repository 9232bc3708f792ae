// Package policy describes PodDisruptionBudget of policy/v1.
package policy

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		podDisruptionBudgets(),
	}
}
