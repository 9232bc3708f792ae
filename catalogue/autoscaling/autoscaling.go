// Package autoscaling describes HorizontalPodAutoscaler, served as autoscaling/v2 and v1.
package autoscaling

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		horizontalPodAutoscalers(),
	}
}
