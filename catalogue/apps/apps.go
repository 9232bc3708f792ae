// Package apps describes the kinds of apps/v1.
package apps

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		controllerRevisions(),
		daemonSets(),
		deployments(),
		replicaSets(),
		statefulSets(),
	}
}
