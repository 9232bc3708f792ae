package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"clipper/api"
	"clipper/catalogue"
)

// statefulSets describes StatefulSet.
func statefulSets() *catalogue.Resource {
	return catalogue.Describe[appsv1.StatefulSet, appsv1.StatefulSetList](catalogue.Kind[*appsv1.StatefulSet]{
		Resource:   api.StatefulSets.Resource,
		ShortNames: []string{"sts"},
		Categories: []string{"all"},
		Spec:       catalogue.PartOf(func(o *appsv1.StatefulSet) *appsv1.StatefulSetSpec { return &o.Spec }),
		Status:     catalogue.PartOf(func(o *appsv1.StatefulSet) *appsv1.StatefulSetStatus { return &o.Status }),
		Generation: catalogue.PartOf(func(o *appsv1.StatefulSet) *appsv1.StatefulSetSpec { return &o.Spec }),
		Scale: catalogue.ScaleOf(
			func(o *appsv1.StatefulSet) **int32 { return &o.Spec.Replicas },
			func(o *appsv1.StatefulSet) int32 { return o.Status.Replicas },
			func(o *appsv1.StatefulSet) string { return catalogue.SelectorText(o.Spec.Selector) },
		),
	})
}
