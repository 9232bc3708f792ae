package apps

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// statefulSets describes StatefulSet.
func statefulSets() *catalogue.Resource {
	return catalogue.Describe[appsv1.StatefulSet, appsv1.StatefulSetList](catalogue.Kind[*appsv1.StatefulSet]{
		Resource:       api.StatefulSets.Resource,
		Warnings:       statefulSetWarnings,
		ValidateCreate: validateStatefulSet,
		ValidateUpdate: validateStatefulSetUpdate,
		ValidateStatus: validateStatefulSetStatus,
		ValidateName:   apivalidation.NameIsDNSLabel,
		PrepareCreate: func(o *appsv1.StatefulSet) {
			dropMaxUnavailable(o, nil)
			podspec.DropDisabledTemplate(&o.Spec.Template, nil)
		},
		PrepareUpdate: func(o, old *appsv1.StatefulSet) {
			dropMaxUnavailable(o, old)
			podspec.DropDisabledTemplate(&o.Spec.Template, &old.Spec.Template)
		},
		Columns:    statefulSetColumns,
		Row:        statefulSetRow,
		Default:    defaultStatefulSet,
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

func defaultStatefulSet(o *appsv1.StatefulSet) {
	s := &o.Spec
	rule.SetIfEmpty(&s.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	if s.UpdateStrategy.Type == "" { // a type chosen by the user leaves rollingUpdate unset
		s.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		rule.SetIfNil(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if r := s.UpdateStrategy.RollingUpdate; r != nil {
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

func validateStatefulSet(o *appsv1.StatefulSet) field.ErrorList {
	f := &rule.Faults{}
	statefulSetSpec(f, &o.Spec, nil)
	return f.List
}

func validateStatefulSetUpdate(o, old *appsv1.StatefulSet) field.ErrorList {
	f := &rule.Faults{}
	statefulSetSpec(f, &o.Spec, &old.Spec.Template)
	rest := o.Spec
	rest.Replicas = old.Spec.Replicas
	rest.Template = old.Spec.Template
	rest.UpdateStrategy = old.Spec.UpdateStrategy
	rest.MinReadySeconds = old.Spec.MinReadySeconds
	rest.Ordinals = old.Spec.Ordinals
	rest.RevisionHistoryLimit = old.Spec.RevisionHistoryLimit
	rest.PersistentVolumeClaimRetentionPolicy = old.Spec.PersistentVolumeClaimRetentionPolicy
	if !equality.Semantic.DeepEqual(rest, old.Spec) {
		f.Forbidden(specPath, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")
	}
	return f.List
}

// statefulSetSpec checks a spec; old is the template before an update, nil on create. What an update may not
// change anyway is looked at on create only.
func statefulSetSpec(f *rule.Faults, s *appsv1.StatefulSetSpec, old *corev1.PodTemplateSpec) {
	if p := s.PodManagementPolicy; f.Need(specPath.Child("podManagementPolicy"), string(p)) && p != appsv1.OrderedReadyPodManagement && p != appsv1.ParallelPodManagement {
		f.Invalid(specPath.Child("podManagementPolicy"), p, "must be 'OrderedReady' or 'Parallel'")
	}
	statefulSetStrategy(f, s, specPath.Child("updateStrategy"))
	if p := s.PersistentVolumeClaimRetentionPolicy; p != nil {
		at := specPath.Child("persistentVolumeClaimRetentionPolicy")
		retention(f, p.WhenDeleted, at.Child("whenDeleted"))
		retention(f, p.WhenScaled, at.Child("whenScaled"))
	}
	for i := range s.VolumeClaimTemplates {
		if at := specPath.Child("volumeClaimTemplates").Index(i).Child("spec"); old == nil {
			f.Add(podspec.ValidateClaim(&s.VolumeClaimTemplates[i].Spec, at, podspec.ClaimOptions{})...)
		}
	}
	f.AtLeastZeroIfSet(specPath.Child("replicas"), s.Replicas)
	f.AtLeastZero(specPath.Child("minReadySeconds"), int64(s.MinReadySeconds))
	if s.Ordinals != nil {
		f.AtLeastZero(specPath.Child("ordinals.start"), int64(s.Ordinals.Start))
	}
	if old == nil && s.ServiceName != "" {
		f.DNSLabel(specPath.Child("serviceName"), s.ServiceName)
	}
	if selected(f, s.Selector, &s.Template, "statefulset", "") {
		template(f, asRun(s), old)
	}
	alwaysRunning(f, &s.Template, "StatefulSet")
}

// asRun is the template as the controller will fill it in: host names are its own, and each claim
// template becomes a volume.
func asRun(s *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	t := s.Template
	t.Spec.Hostname, t.Spec.Subdomain = "", ""
	claims := map[string]bool{}
	var volumes []corev1.Volume
	for i := range s.VolumeClaimTemplates {
		name := s.VolumeClaimTemplates[i].Name
		if claims[name] {
			continue
		}
		claims[name] = true
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	for _, v := range t.Spec.Volumes {
		if !claims[v.Name] {
			volumes = append(volumes, v)
		}
	}
	t.Spec.Volumes = volumes
	return &t
}

func statefulSetStrategy(f *rule.Faults, s *appsv1.StatefulSetSpec, at *field.Path) {
	r := s.UpdateStrategy.RollingUpdate
	switch s.UpdateStrategy.Type {
	case "":
		f.Required(at, "")
	case appsv1.OnDeleteStatefulSetStrategyType:
		if r != nil {
			f.Invalid(at.Child("rollingUpdate"), r, "only allowed for updateStrategy 'RollingUpdate'")
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if r == nil {
			return
		}
		f.AtLeastZeroIfSet(at.Child("rollingUpdate", "partition"), r.Partition)
		if r.MaxUnavailable != nil {
			path := at.Child("rollingUpdate", "maxUnavailable")
			f.IntOrPercent(path, r.MaxUnavailable)
			if rule.Amount(r.MaxUnavailable) == 0 {
				f.Invalid(path, *r.MaxUnavailable, "cannot be 0")
			}
			f.NoMoreThanAll(path, r.MaxUnavailable)
		}
	default:
		f.Invalid(at, s.UpdateStrategy, "must be 'RollingUpdate' or 'OnDelete'")
	}
}

func retention(f *rule.Faults, p appsv1.PersistentVolumeClaimRetentionPolicyType, at *field.Path) {
	allowed := []appsv1.PersistentVolumeClaimRetentionPolicyType{appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
	if !slices.Contains(allowed, p) {
		f.Add(field.NotSupported(at, p, allowed))
	}
}

func validateStatefulSetStatus(o, old *appsv1.StatefulSet) field.ErrorList {
	f, s := &rule.Faults{}, &o.Status
	f.AtLeastZero(statusPath.Child("replicas"), int64(s.Replicas))
	f.AtLeastZero(statusPath.Child("readyReplicas"), int64(s.ReadyReplicas))
	f.AtLeastZero(statusPath.Child("currentReplicas"), int64(s.CurrentReplicas))
	f.AtLeastZero(statusPath.Child("updatedReplicas"), int64(s.UpdatedReplicas))
	f.AtLeastZero(statusPath.Child("availableReplicas"), int64(s.AvailableReplicas))
	f.AtLeastZero(statusPath.Child("observedGeneration"), s.ObservedGeneration)
	f.AtLeastZeroIfSet(statusPath.Child("collisionCount"), s.CollisionCount)
	f.NoMoreReplicas(statusPath.Child("readyReplicas"), s.ReadyReplicas, s.Replicas, rule.AboveReplicas)
	f.NoMoreReplicas(statusPath.Child("currentReplicas"), s.CurrentReplicas, s.Replicas, rule.AboveReplicas)
	f.NoMoreReplicas(statusPath.Child("updatedReplicas"), s.UpdatedReplicas, s.Replicas, rule.AboveReplicas)
	f.NoMoreReplicas(statusPath.Child("availableReplicas"), s.AvailableReplicas, s.Replicas, rule.AboveReplicas)
	f.NoMoreReplicas(statusPath.Child("availableReplicas"), s.AvailableReplicas, s.ReadyReplicas, "cannot be greater than status.readyReplicas")
	f.NotDecremented(statusPath.Child("collisionCount"), s.CollisionCount, old.Status.CollisionCount)
	return f.List
}

func statefulSetWarnings(s, old *appsv1.StatefulSet) []string {
	out := podspec.OwnerWarnings(&s.ObjectMeta, podspec.MetaOf(old), &s.Spec.Template, specPath.Child("template"), false)
	for i := range s.Spec.VolumeClaimTemplates {
		at := specPath.Child("volumeClaimTemplates").Index(i)
		if old != nil {
			at = at.Child("Spec")
		}
		out = append(out, podspec.ClaimWarnings(&s.Spec.VolumeClaimTemplates[i].Spec, at)...)
	}
	if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		out = append(out, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return out
}

// dropMaxUnavailable: replacing several pods at once is off by default.
func dropMaxUnavailable(s, old *appsv1.StatefulSet) {
	if old != nil && old.Spec.UpdateStrategy.RollingUpdate != nil && old.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable != nil {
		return
	}
	if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil {
		r.MaxUnavailable = nil
	}
}
