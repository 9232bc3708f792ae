package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// daemonSets describes DaemonSet.
func daemonSets() *catalogue.Resource {
	return catalogue.Describe[appsv1.DaemonSet, appsv1.DaemonSetList](catalogue.Kind[*appsv1.DaemonSet]{
		Resource:   api.DaemonSets.Resource,
		Default:    defaultDaemonSet,
		ShortNames: []string{"ds"},
		Categories: []string{"all"},
		Spec:       catalogue.PartOf(func(o *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &o.Spec }),
		Status:     catalogue.PartOf(func(o *appsv1.DaemonSet) *appsv1.DaemonSetStatus { return &o.Status }),
		Generation: catalogue.PartOf(func(o *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &o.Spec }),
	})
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	s := &d.Spec
	rule.SetIfEmpty(&s.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if s.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		rule.SetIfNil(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		rule.SetIfNil(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		rule.SetIfNil(&s.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	rule.SetIfNil(&s.RevisionHistoryLimit, 10)
	podspec.DefaultTemplate(&s.Template)
}
