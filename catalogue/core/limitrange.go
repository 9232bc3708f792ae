package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/table"
)

// limitRanges describes LimitRange.
func limitRanges() *catalogue.Resource {
	return catalogue.Describe[corev1.LimitRange, corev1.LimitRangeList](catalogue.Kind[*corev1.LimitRange]{
		Resource:   api.LimitRanges.Resource,
		Columns:    limitRangeColumns,
		Row:        limitRangeRow,
		Default:    defaultLimitRange,
		ShortNames: []string{"limits"}, CreateOnUpdate: true,
	})
}

func defaultLimitRange(r *corev1.LimitRange) {
	for i := range r.Spec.Limits {
		item := &r.Spec.Limits[i]
		if item.Type == corev1.LimitTypeContainer {
			item.Default = filled(item.Default, item.Max)
			item.DefaultRequest = filled(item.DefaultRequest, item.Default, item.Min)
		}
		for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			podspec.RoundUp(list)
		}
	}
}

// filled returns list with what it lacks from others, the first of which wins. It is never nil.
func filled(list corev1.ResourceList, others ...corev1.ResourceList) corev1.ResourceList {
	if list == nil {
		list = corev1.ResourceList{}
	}
	for _, other := range others {
		for name, q := range other {
			if _, ok := list[name]; !ok {
				list[name] = q.DeepCopy()
			}
		}
	}
	return list
}

var limitRangeColumns = []table.Column{
	table.Name,
	table.CreatedAt,
}

func limitRangeRow(r *corev1.LimitRange, _ time.Time) []any {
	return []any{r.Name, table.Created(r.CreationTimestamp)}
}
