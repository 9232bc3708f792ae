package apps

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// statefulSets describes StatefulSet.
func statefulSets() *catalogue.Resource {
	return catalogue.Describe[appsv1.StatefulSet, appsv1.StatefulSetList](catalogue.Kind[*appsv1.StatefulSet]{
		Resource:      api.StatefulSets.Resource,
		PrepareCreate: func(o *appsv1.StatefulSet) { podspec.DropDisabledTemplate(&o.Spec.Template, nil) },
		PrepareUpdate: func(o, old *appsv1.StatefulSet) { podspec.DropDisabledTemplate(&o.Spec.Template, &old.Spec.Template) },
		Columns:       statefulSetColumns,
		Row:           statefulSetRow,
		Default:       defaultStatefulSet,
		ShortNames:    []string{"sts"},
		Categories:    []string{"all"},
		Spec:          catalogue.PartOf(func(o *appsv1.StatefulSet) *appsv1.StatefulSetSpec { return &o.Spec }),
		Status:        catalogue.PartOf(func(o *appsv1.StatefulSet) *appsv1.StatefulSetStatus { return &o.Status }),
		Generation:    catalogue.PartOf(func(o *appsv1.StatefulSet) *appsv1.StatefulSetSpec { return &o.Spec }),
		Scale: catalogue.ScaleOf(
			func(o *appsv1.StatefulSet) **int32 { return &o.Spec.Replicas },
			func(o *appsv1.StatefulSet) int32 { return o.Status.Replicas },
			func(o *appsv1.StatefulSet) string { return catalogue.SelectorText(o.Spec.Selector) },
		),
	})
}

func defaultStatefulSet(o *appsv1.StatefulSet) {
	s := &o.Spec
	rule.SetIfEmpty(&s.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	if s.UpdateStrategy.Type == "" { // a type chosen by the user leaves rollingUpdate unset
		s.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		rule.SetIfNil(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if r := s.UpdateStrategy.RollingUpdate; r != nil && s.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		rule.SetIfNil(&r.Partition, 0)
	}
	rule.SetIfNil(&s.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	rule.SetIfEmpty(&s.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	rule.SetIfEmpty(&s.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	rule.SetIfNil(&s.Replicas, 1)
	rule.SetIfNil(&s.RevisionHistoryLimit, 10)
	podspec.DefaultTemplate(&s.Template)
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		rule.SetIfEmpty(&c.Status.Phase, corev1.ClaimPending)
		rule.SetIfEmpty(&c.APIVersion, "v1")
		rule.SetIfEmpty(&c.Kind, "PersistentVolumeClaim")
		podspec.DefaultClaim(&c.Spec)
		podspec.RoundUp(c.Status.Capacity)
		podspec.RoundUp(c.Status.AllocatedResources)
	}
}

var statefulSetColumns = slices.Concat([]table.Column{
	table.Name,
	table.String("Ready", "Number of the pod with ready state"),
	table.Age,
}, table.Wide(
	podspec.ContainersColumn,
	podspec.ImagesColumn,
))

func statefulSetRow(s *appsv1.StatefulSet, now time.Time) []any {
	containers := s.Spec.Template.Spec.Containers
	return []any{
		s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, replicas(s.Spec.Replicas)), table.Since(s.CreationTimestamp, now),
		podspec.Names(containers), podspec.Images(containers),
	}
}
