package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// deployments describes Deployment.
func deployments() *catalogue.Resource {
	return catalogue.Describe[appsv1.Deployment, appsv1.DeploymentList](catalogue.Kind[*appsv1.Deployment]{
		Resource:   api.Deployments.Resource,
		Default:    defaultDeployment,
		ShortNames: []string{"deploy"},
		Categories: []string{"all"},
		Spec:       catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentSpec { return &o.Spec }),
		Status:     catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentStatus { return &o.Status }),
		Generation: catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentSpec { return &o.Spec }),
		Scale: catalogue.ScaleOf(
			func(o *appsv1.Deployment) **int32 { return &o.Spec.Replicas },
			func(o *appsv1.Deployment) int32 { return o.Status.Replicas },
			func(o *appsv1.Deployment) string { return catalogue.SelectorText(o.Spec.Selector) },
		),
	})
}

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	rule.SetIfNil(&s.Replicas, 1)
	rule.SetIfEmpty(&s.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		rule.SetIfNil(&s.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		rule.SetIfNil(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		rule.SetIfNil(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	rule.SetIfNil(&s.RevisionHistoryLimit, 10)
	rule.SetIfNil(&s.ProgressDeadlineSeconds, 600)
	podspec.DefaultTemplate(&s.Template)
}
