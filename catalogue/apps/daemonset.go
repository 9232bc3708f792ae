package apps

import (
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// daemonSets describes DaemonSet.
func daemonSets() *catalogue.Resource {
	return catalogue.Describe[appsv1.DaemonSet, appsv1.DaemonSetList](catalogue.Kind[*appsv1.DaemonSet]{
		Resource: api.DaemonSets.Resource,
		Warnings: func(o, old *appsv1.DaemonSet) []string {
			if old != nil && templateGenerationOf(o) == templateGenerationOf(old) {
				return nil
			}
			return podspec.TemplateWarnings(&o.Spec.Template, specPath.Child("template"))
		},
		ValidateCreate: validateDaemonSet,
		ValidateUpdate: validateDaemonSetUpdate,
		ValidateStatus: validateDaemonSetStatus,
		PrepareCreate:  prepareDaemonSet,
		PrepareUpdate:  prepareDaemonSetUpdate,
		Columns:        daemonSetColumns,
		OwnAnnotation:  appsv1.DeprecatedTemplateGeneration,
		Row:            daemonSetRow,
		Default:        defaultDaemonSet,
		ShortNames:     []string{"ds"},
		Categories:     []string{"all"},
		Spec:           catalogue.PartOf(func(o *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &o.Spec }),
		Status:         catalogue.PartOf(func(o *appsv1.DaemonSet) *appsv1.DaemonSetStatus { return &o.Status }),
		Generation:     catalogue.PartOf(func(o *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &o.Spec }),
	})
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	// Whoever writes a daemon set owns the annotation, and webhooks see it: it is there before prepareDaemonSet counts.
	templateGeneration(d, templateGenerationOf(d))
	s := &d.Spec
	rule.SetIfEmpty(&s.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if s.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		rule.SetIfNil(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		rule.SetIfNil(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	if r := s.UpdateStrategy.RollingUpdate; r != nil {
		rule.SetIfNil(&r.MaxUnavailable, intstr.FromInt32(0))
		rule.SetIfNil(&r.MaxSurge, intstr.FromInt32(0))
	}
	rule.SetIfNil(&s.RevisionHistoryLimit, 10)
	podspec.DefaultTemplate(&s.Template)
}

var daemonSetColumns = slices.Concat([]table.Column{
	table.Name,
	table.Integer("Desired", table.Doc(appsv1.DaemonSetStatus{}, "desiredNumberScheduled")),
	table.Integer("Current", table.Doc(appsv1.DaemonSetStatus{}, "currentNumberScheduled")),
	table.Integer("Ready", table.Doc(appsv1.DaemonSetStatus{}, "numberReady")),
	table.Integer("Up-to-date", table.Doc(appsv1.DaemonSetStatus{}, "updatedNumberScheduled")),
	table.Integer("Available", table.Doc(appsv1.DaemonSetStatus{}, "numberAvailable")),
	table.String("Node Selector", table.Doc(corev1.PodSpec{}, "nodeSelector")),
	table.Age,
}, table.Wide(
	podspec.ContainersColumn,
	podspec.ImagesColumn,
	table.String("Selector", table.Doc(appsv1.DaemonSetSpec{}, "selector")),
))

func daemonSetRow(d *appsv1.DaemonSet, now time.Time) []any {
	s, containers := d.Status, d.Spec.Template.Spec.Containers
	return []any{
		d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady),
		int64(s.UpdatedNumberScheduled), int64(s.NumberAvailable), table.Labels(d.Spec.Template.Spec.NodeSelector),
		table.Since(d.CreationTimestamp, now),
		podspec.Names(containers), podspec.Images(containers), table.Selector(d.Spec.Selector),
	}
}

func prepareDaemonSet(d *appsv1.DaemonSet) {
	templateGeneration(d, max(templateGenerationOf(d), 1))
	podspec.DropDisabledTemplate(&d.Spec.Template, nil)
}

func prepareDaemonSetUpdate(d, old *appsv1.DaemonSet) {
	podspec.DropDisabledTemplate(&d.Spec.Template, &old.Spec.Template)
	n := templateGenerationOf(old)
	if !equality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
		n++
	}
	templateGeneration(d, n)
}

// The template's generation is kept in an annotation: apps/v1 has no field for it.
func templateGenerationOf(d *appsv1.DaemonSet) int64 {
	n, err := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func templateGeneration(d *appsv1.DaemonSet, n int64) {
	d.Annotations = maps.Clone(d.Annotations)
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}

func validateDaemonSet(d *appsv1.DaemonSet) field.ErrorList {
	f := &rule.Faults{}
	daemonSetSpec(f, &d.Spec, nil)
	return f.List
}

func validateDaemonSetUpdate(d, old *appsv1.DaemonSet) field.ErrorList {
	f := &rule.Faults{}
	f.Unchanged(specPath.Child("selector"), d.Spec.Selector, old.Spec.Selector)
	daemonSetSpec(f, &d.Spec, &old.Spec.Template)
	return f.List
}

func daemonSetSpec(f *rule.Faults, s *appsv1.DaemonSetSpec, old *corev1.PodTemplateSpec) {
	daemonSetSelector(f, s)
	template(f, &s.Template, old)
	alwaysRunning(f, &s.Template, "DaemonSet")
	f.AtLeastZero(specPath.Child("minReadySeconds"), int64(s.MinReadySeconds))
	daemonSetStrategy(f, &s.UpdateStrategy, specPath.Child("updateStrategy"))
	f.AtLeastZeroIfSet(specPath.Child("revisionHistoryLimit"), s.RevisionHistoryLimit)
}

// daemonSetSelector is milder than those of other kinds: a broken selector is not called invalid twice.
func daemonSetSelector(f *rule.Faults, s *appsv1.DaemonSetSpec) {
	at := specPath.Child("selector")
	f.Selector(at, s.Selector, false)
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		f.Invalid(templatePath.Child("metadata", "labels"), s.Template.Labels, mismatch)
	}
	if s.Selector != nil && len(s.Selector.MatchLabels)+len(s.Selector.MatchExpressions) == 0 {
		f.Invalid(at, s.Selector, "empty selector is invalid for daemonset")
	}
}

func daemonSetStrategy(f *rule.Faults, s *appsv1.DaemonSetUpdateStrategy, at *field.Path) {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return
	case appsv1.RollingUpdateDaemonSetStrategyType:
	default:
		f.Add(field.NotSupported(at, s, []appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType}))
		return
	}
	r := s.RollingUpdate
	if r == nil {
		f.Required(at.Child("rollingUpdate"), "")
		return
	}
	unavailable, surge := at.Child("rollingUpdate", "maxUnavailable"), at.Child("rollingUpdate", "maxSurge")
	f.IntOrPercent(unavailable, r.MaxUnavailable)
	f.IntOrPercent(surge, r.MaxSurge)
	f.NoMoreThanAll(unavailable, r.MaxUnavailable)
	f.NoMoreThanAll(surge, r.MaxSurge)
	switch down, up := rule.Amount(r.MaxUnavailable) != 0, rule.Amount(r.MaxSurge) != 0; {
	case down && up:
		f.Invalid(surge, r.MaxSurge, "may not be set when maxUnavailable is non-zero")
	case !down && !up:
		f.Required(unavailable, "cannot be 0 when maxSurge is 0")
	}
}

func validateDaemonSetStatus(d, old *appsv1.DaemonSet) field.ErrorList {
	f, s := &rule.Faults{}, &d.Status
	f.AtLeastZero(statusPath.Child("currentNumberScheduled"), int64(s.CurrentNumberScheduled))
	f.AtLeastZero(statusPath.Child("numberMisscheduled"), int64(s.NumberMisscheduled))
	f.AtLeastZero(statusPath.Child("desiredNumberScheduled"), int64(s.DesiredNumberScheduled))
	f.AtLeastZero(statusPath.Child("numberReady"), int64(s.NumberReady))
	f.AtLeastZero(statusPath.Child("observedGeneration"), s.ObservedGeneration)
	f.AtLeastZero(statusPath.Child("updatedNumberScheduled"), int64(s.UpdatedNumberScheduled))
	f.AtLeastZero(statusPath.Child("numberAvailable"), int64(s.NumberAvailable))
	f.AtLeastZero(statusPath.Child("numberUnavailable"), int64(s.NumberUnavailable))
	f.AtLeastZeroIfSet(statusPath.Child("collisionCount"), s.CollisionCount)
	f.NotDecremented(statusPath.Child("collisionCount"), s.CollisionCount, old.Status.CollisionCount)
	return f.List
}
