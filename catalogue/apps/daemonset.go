package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"clipper/api"
	"clipper/catalogue"
)

// daemonSets describes DaemonSet.
func daemonSets() *catalogue.Resource {
	return catalogue.Describe[appsv1.DaemonSet, appsv1.DaemonSetList](catalogue.Kind[*appsv1.DaemonSet]{
		Resource:   api.DaemonSets.Resource,
		ShortNames: []string{"ds"},
		Categories: []string{"all"},
		Spec:       catalogue.PartOf(func(o *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &o.Spec }),
		Status:     catalogue.PartOf(func(o *appsv1.DaemonSet) *appsv1.DaemonSetStatus { return &o.Status }),
		Generation: catalogue.PartOf(func(o *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &o.Spec }),
	})
}
