// Package batch describes the kinds of batch/v1.
package batch

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		cronJobs(),
		jobs(),
	}
}
