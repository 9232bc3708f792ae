package core

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
)

// limitRanges describes LimitRange.
func limitRanges() *catalogue.Resource {
	return catalogue.Describe[corev1.LimitRange, corev1.LimitRangeList](catalogue.Kind[*corev1.LimitRange]{
		Resource:   api.LimitRanges.Resource,
		ShortNames: []string{"limits"}, CreateOnUpdate: true,
	})
}
