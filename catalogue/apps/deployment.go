package apps

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// deployments describes Deployment.
func deployments() *catalogue.Resource {
	return catalogue.Describe[appsv1.Deployment, appsv1.DeploymentList](catalogue.Kind[*appsv1.Deployment]{
		Resource:      api.Deployments.Resource,
		PrepareCreate: func(o *appsv1.Deployment) { podspec.DropDisabledTemplate(&o.Spec.Template, nil) },
		PrepareUpdate: func(o, old *appsv1.Deployment) { podspec.DropDisabledTemplate(&o.Spec.Template, &old.Spec.Template) },
		Columns:       deploymentColumns,
		Row:           deploymentRow,
		Default:       defaultDeployment,
		ShortNames:    []string{"deploy"},
		Categories:    []string{"all"},
		Spec:          catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentSpec { return &o.Spec }),
		Status:        catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentStatus { return &o.Status }),
		Generation: catalogue.Both( // of all kinds only this one counts annotations too
			catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentSpec { return &o.Spec }),
			catalogue.PartOf(func(o *appsv1.Deployment) *map[string]string { return &o.Annotations }),
		),
		PrepareStatus: func(o, old *appsv1.Deployment) { o.Labels = old.Labels },
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

var deploymentColumns = slices.Concat([]table.Column{
	table.Name,
	table.String("Ready", "Number of the pod with ready state"),
	table.String("Up-to-date", table.Doc(appsv1.DeploymentStatus{}, "updatedReplicas")),
	table.String("Available", table.Doc(appsv1.DeploymentStatus{}, "availableReplicas")),
	table.Age,
}, table.Wide(
	podspec.ContainersColumn,
	podspec.ImagesColumn,
	table.String("Selector", table.Doc(appsv1.DeploymentSpec{}, "selector")),
))

func deploymentRow(d *appsv1.Deployment, now time.Time) []any {
	selector := "<invalid>"
	if s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil {
		selector = s.String()
	}
	containers := d.Spec.Template.Spec.Containers
	return []any{
		d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, replicas(d.Spec.Replicas)),
		int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), table.Since(d.CreationTimestamp, now),
		podspec.Names(containers), podspec.Images(containers), selector,
	}
}

// replicas is the wanted number; objects of old clients may come without.
func replicas(n *int32) int64 {
	if n == nil {
		return 0
	}
	return int64(*n)
}
