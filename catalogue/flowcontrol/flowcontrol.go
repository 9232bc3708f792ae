// Package flowcontrol describes the kinds of flowcontrol.apiserver.k8s.io/v1.
package flowcontrol

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		flowSchemas(),
		priorityLevels(),
	}
}
