package apps

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// replicaSets describes ReplicaSet.
func replicaSets() *catalogue.Resource {
	return catalogue.Describe[appsv1.ReplicaSet, appsv1.ReplicaSetList](catalogue.Kind[*appsv1.ReplicaSet]{
		Resource: api.ReplicaSets.Resource,
		Warnings: func(o, old *appsv1.ReplicaSet) []string {
			return podspec.OwnerWarnings(&o.ObjectMeta, podspec.MetaOf(old), &o.Spec.Template, specPath.Child("template"), true)
		},
		ValidateCreate: validateReplicaSet,
		ValidateUpdate: validateReplicaSetUpdate,
		ValidateStatus: validateReplicaSetStatus,
		PrepareCreate:  func(o *appsv1.ReplicaSet) { podspec.DropDisabledTemplate(&o.Spec.Template, nil) },
		PrepareUpdate:  func(o, old *appsv1.ReplicaSet) { podspec.DropDisabledTemplate(&o.Spec.Template, &old.Spec.Template) },
		Columns:        replicaSetColumns,
		Row:            replicaSetRow,
		Default:        defaultReplicaSet,
		ShortNames:     []string{"rs"},
		Categories:     []string{"all"},
		Spec:           catalogue.PartOf(func(o *appsv1.ReplicaSet) *appsv1.ReplicaSetSpec { return &o.Spec }),
		Status:         catalogue.PartOf(func(o *appsv1.ReplicaSet) *appsv1.ReplicaSetStatus { return &o.Status }),
		Generation:     catalogue.PartOf(func(o *appsv1.ReplicaSet) *appsv1.ReplicaSetSpec { return &o.Spec }),
		Scale: catalogue.ScaleOf(
			func(o *appsv1.ReplicaSet) **int32 { return &o.Spec.Replicas },
			func(o *appsv1.ReplicaSet) int32 { return o.Status.Replicas },
			func(o *appsv1.ReplicaSet) string { return catalogue.SelectorText(o.Spec.Selector) },
		),
	})
}

func defaultReplicaSet(r *appsv1.ReplicaSet) {
	rule.SetIfNil(&r.Spec.Replicas, 1)
	podspec.DefaultTemplate(&r.Spec.Template)
}

var replicaSetColumns = slices.Concat([]table.Column{
	table.Name,
	table.Integer("Desired", table.Doc(appsv1.ReplicaSetSpec{}, "replicas")),
	table.Integer("Current", table.Doc(appsv1.ReplicaSetStatus{}, "replicas")),
	table.Integer("Ready", table.Doc(appsv1.ReplicaSetStatus{}, "readyReplicas")),
	table.Age,
}, table.Wide(
	podspec.ContainersColumn,
	podspec.ImagesColumn,
	table.String("Selector", table.Doc(appsv1.ReplicaSetSpec{}, "selector")),
))

func replicaSetRow(r *appsv1.ReplicaSet, now time.Time) []any {
	containers := r.Spec.Template.Spec.Containers
	return []any{
		r.Name, replicas(r.Spec.Replicas), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas), table.Since(r.CreationTimestamp, now),
		podspec.Names(containers), podspec.Images(containers), table.Selector(r.Spec.Selector),
	}
}

func validateReplicaSet(r *appsv1.ReplicaSet) field.ErrorList {
	f := &rule.Faults{}
	replicaSetSpec(f, &r.Spec, nil)
	return f.List
}

func validateReplicaSetUpdate(r, old *appsv1.ReplicaSet) field.ErrorList {
	f := &rule.Faults{}
	replicaSetSpec(f, &r.Spec, &old.Spec.Template)
	f.Unchanged(specPath.Child("selector"), r.Spec.Selector, old.Spec.Selector)
	return f.List
}

func replicaSetSpec(f *rule.Faults, s *appsv1.ReplicaSetSpec, old *corev1.PodTemplateSpec) {
	f.AtLeastZeroIfSet(specPath.Child("replicas"), s.Replicas)
	f.AtLeastZero(specPath.Child("minReadySeconds"), int64(s.MinReadySeconds))
	if selected(f, s.Selector, &s.Template, "deployment", "invalid label selector") {
		template(f, &s.Template, old)
		alwaysRunning(f, &s.Template, "ReplicaSet")
	}
}

func validateReplicaSetStatus(r, _ *appsv1.ReplicaSet) field.ErrorList {
	f, s := &rule.Faults{}, &r.Status
	f.Replicas(statusPath, rule.Replicas{
		All: s.Replicas, FullyLabeled: s.FullyLabeledReplicas, Ready: s.ReadyReplicas, Available: s.AvailableReplicas,
		Terminating: s.TerminatingReplicas, ObservedGeneration: s.ObservedGeneration,
	})
	return f.List
}
