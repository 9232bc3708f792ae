package apps

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// deployments describes Deployment.
func deployments() *catalogue.Resource {
	return catalogue.Describe[appsv1.Deployment, appsv1.DeploymentList](catalogue.Kind[*appsv1.Deployment]{
		Resource: api.Deployments.Resource,
		Warnings: func(o, old *appsv1.Deployment) []string {
			return podspec.OwnerWarnings(&o.ObjectMeta, podspec.MetaOf(old), &o.Spec.Template, specPath.Child("template"), true)
		},
		ValidateCreate: validateDeployment,
		ValidateUpdate: validateDeploymentUpdate,
		ValidateStatus: validateDeploymentStatus,
		PrepareCreate:  func(o *appsv1.Deployment) { podspec.DropDisabledTemplate(&o.Spec.Template, nil) },
		PrepareUpdate:  func(o, old *appsv1.Deployment) { podspec.DropDisabledTemplate(&o.Spec.Template, &old.Spec.Template) },
		Columns:        deploymentColumns,
		Row:            deploymentRow,
		Default:        defaultDeployment,
		ShortNames:     []string{"deploy"},
		Categories:     []string{"all"},
		Spec:           catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentSpec { return &o.Spec }),
		Status:         catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentStatus { return &o.Status }),
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

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	f := &rule.Faults{}
	deploymentSpec(f, &d.Spec, nil)
	return f.List
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	f := &rule.Faults{}
	deploymentSpec(f, &d.Spec, &old.Spec.Template)
	f.Unchanged(specPath.Child("selector"), d.Spec.Selector, old.Spec.Selector)
	return f.List
}

func deploymentSpec(f *rule.Faults, s *appsv1.DeploymentSpec, old *corev1.PodTemplateSpec) {
	f.AtLeastZeroIfSet(specPath.Child("replicas"), s.Replicas)
	if selected(f, s.Selector, &s.Template, "deployment", "invalid label selector") {
		template(f, &s.Template, old)
		alwaysRunning(f, &s.Template, "ReplicaSet")
	}
	deploymentStrategy(f, &s.Strategy, specPath.Child("strategy"))
	f.AtLeastZero(specPath.Child("minReadySeconds"), int64(s.MinReadySeconds))
	f.AtLeastZeroIfSet(specPath.Child("revisionHistoryLimit"), s.RevisionHistoryLimit)
	if p := s.ProgressDeadlineSeconds; p != nil {
		f.AtLeastZero(specPath.Child("progressDeadlineSeconds"), int64(*p))
		if *p <= s.MinReadySeconds {
			f.Invalid(specPath.Child("progressDeadlineSeconds"), p, "must be greater than minReadySeconds")
		}
	}
}

func deploymentStrategy(f *rule.Faults, s *appsv1.DeploymentStrategy, at *field.Path) {
	switch r := s.RollingUpdate; s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if r != nil {
			f.Forbidden(at.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		if r == nil {
			f.Required(at.Child("rollingUpdate"), "this should be defaulted and never be nil")
			return
		}
		unavailable := at.Child("rollingUpdate", "maxUnavailable")
		f.IntOrPercent(unavailable, r.MaxUnavailable)
		f.IntOrPercent(at.Child("rollingUpdate", "maxSurge"), r.MaxSurge)
		if rule.Amount(r.MaxUnavailable) == 0 && rule.Amount(r.MaxSurge) == 0 {
			f.Invalid(unavailable, r.MaxUnavailable, "may not be 0 when `maxSurge` is 0")
		}
		f.NoMoreThanAll(unavailable, r.MaxUnavailable)
	default:
		f.Add(field.NotSupported(at, s, []appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType}))
	}
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	f, s := &rule.Faults{}, &d.Status
	f.AtLeastZero(statusPath.Child("observedGeneration"), s.ObservedGeneration)
	f.AtLeastZero(statusPath.Child("replicas"), int64(s.Replicas))
	f.AtLeastZero(statusPath.Child("updatedReplicas"), int64(s.UpdatedReplicas))
	f.AtLeastZero(statusPath.Child("readyReplicas"), int64(s.ReadyReplicas))
	f.AtLeastZero(statusPath.Child("availableReplicas"), int64(s.AvailableReplicas))
	f.AtLeastZero(statusPath.Child("unavailableReplicas"), int64(s.UnavailableReplicas))
	f.AtLeastZeroIfSet(statusPath.Child("terminatingReplicas"), s.TerminatingReplicas)
	f.AtLeastZeroIfSet(statusPath.Child("collisionCount"), s.CollisionCount)
	f.NoMoreReplicas(statusPath.Child("updatedReplicas"), s.UpdatedReplicas, s.Replicas, rule.AboveReplicas)
	f.NoMoreReplicas(statusPath.Child("readyReplicas"), s.ReadyReplicas, s.Replicas, rule.AboveReplicas)
	f.NoMoreReplicas(statusPath.Child("availableReplicas"), s.AvailableReplicas, s.Replicas, rule.AboveReplicas)
	f.NoMoreReplicas(statusPath.Child("availableReplicas"), s.AvailableReplicas, s.ReadyReplicas, "cannot be greater than readyReplicas")
	f.NotDecremented(statusPath.Child("collisionCount"), s.CollisionCount, old.Status.CollisionCount)
	return f.List
}
