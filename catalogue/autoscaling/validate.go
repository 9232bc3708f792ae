package autoscaling

import (
	"errors"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

var specPath = field.NewPath("spec")

func validateCreate(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return validate(h, false, false)
}

// validateUpdate lets an old object keep a reference that today's rules refuse.
func validateUpdate(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	is, was := h.Spec.ScaleTargetRef, old.Spec.ScaleTargetRef
	laxMetrics := slices.ContainsFunc(old.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Object != nil && apiVersion(m.Object.DescribedObject.APIVersion, true) != nil
	})
	return validate(h, is.APIVersion == was.APIVersion && is.Kind == was.Kind, laxMetrics)
}

func validate(h *autoscalingv2.HorizontalPodAutoscaler, laxTarget, laxMetrics bool) field.ErrorList {
	f, s := &rule.Faults{}, &h.Spec
	if n := s.MinReplicas; n != nil && *n < 1 {
		f.Invalid(specPath.Child("minReplicas"), *n, "must be greater than or equal to 1")
	}
	switch {
	case s.MaxReplicas == 0:
		f.Required(specPath.Child("maxReplicas"), "must be set and greater than 0")
	case s.MaxReplicas < 0:
		f.Invalid(specPath.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to 1")
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		f.Invalid(specPath.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	reference(f, s.ScaleTargetRef, s.ScaleTargetRef.Kind == "ReplicationController", laxTarget, specPath.Child("scaleTargetRef"))
	for i := range s.Metrics {
		metricSpec(f, &s.Metrics[i], laxMetrics, specPath.Child("metrics").Index(i))
	}
	if s.MinReplicas != nil && *s.MinReplicas == 0 && !slices.ContainsFunc(s.Metrics, fromOutside) {
		f.Forbidden(specPath.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas")
	}
	if s.Behavior != nil {
		scalingRules(f, s.Behavior.ScaleUp, specPath.Child("behavior", "scaleUp"))
		scalingRules(f, s.Behavior.ScaleDown, specPath.Child("behavior", "scaleDown"))
	}
	return f.List
}

func reference(f *rule.Faults, r autoscalingv2.CrossVersionObjectReference, coreToo, lax bool, at *field.Path) {
	segment := func(name, value string) {
		if f.Need(at.Child(name), value) {
			f.Each(at.Child(name), value, path.IsValidPathSegmentName(value))
		}
	}
	segment("kind", r.Kind)
	segment("name", r.Name)
	if err := apiVersion(r.APIVersion, coreToo); err != nil && !lax {
		f.Invalid(at.Child("apiVersion"), r.APIVersion, err.Error())
	}
}

// apiVersion checks the version of a target. Of the core group only replication controllers can be scaled,
// but metrics may be of any object.
func apiVersion(text string, coreToo bool) error {
	gv, err := schema.ParseGroupVersion(text)
	if err != nil {
		return err
	}
	if gv.Group == "" && !coreToo {
		return errors.New("apiVersion must specify API group")
	}
	return nil
}

func metricType(f *rule.Faults, t autoscalingv2.MetricSourceType, at *field.Path) {
	rule.OneOf(f, at.Child("type"), t, autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType,
		autoscalingv2.ResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType, autoscalingv2.ContainerResourceMetricSourceType)
}

func metricSpec(f *rule.Faults, m *autoscalingv2.MetricSpec, laxTarget bool, at *field.Path) {
	if m.Type == "" {
		f.Required(at.Child("type"), "must specify a metric source type")
	}
	metricType(f, m.Type, at)
	sources := []struct {
		name  string
		of    autoscalingv2.MetricSourceType
		set   bool
		check func(at *field.Path)
	}{
		{"object", autoscalingv2.ObjectMetricSourceType, m.Object != nil, func(at *field.Path) { objectMetric(f, m.Object, laxTarget, at) }},
		{"external", autoscalingv2.ExternalMetricSourceType, m.External != nil, func(at *field.Path) { externalMetric(f, m.External, at) }},
		{"pods", autoscalingv2.PodsMetricSourceType, m.Pods != nil, func(at *field.Path) { podsMetric(f, m.Pods, at) }},
		{"resource", autoscalingv2.ResourceMetricSourceType, m.Resource != nil, func(at *field.Path) {
			if m.Resource.Name == "" {
				f.Required(at.Child("name"), "must specify a resource name")
			}
			usage(f, m.Resource.Target, at.Child("target"))
		}},
		{"containerResource", autoscalingv2.ContainerResourceMetricSourceType, m.ContainerResource != nil, func(at *field.Path) {
			containerMetric(f, m.ContainerResource, at)
		}},
	}
	count := 0
	for _, s := range sources {
		if s.set {
			if count++; count == 1 {
				s.check(at.Child(s.name))
			}
		}
	}
	metricType(f, m.Type, at) // upstream says it again
	for _, s := range sources {
		if s.of == m.Type && !s.set {
			f.Required(at.Child(s.name), "must populate information for the given metric source")
		}
	}
	for _, s := range sources {
		if s.of != m.Type && s.set && count != 1 {
			f.Forbidden(at.Child(s.name), "must populate the given metric source only")
		}
	}
}

// fromOutside says that a metric can be had without any pod that runs.
func fromOutside(m autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
}

func objectMetric(f *rule.Faults, m *autoscalingv2.ObjectMetricSource, lax bool, at *field.Path) {
	reference(f, m.DescribedObject, true, lax, at.Child("describedObject"))
	identifier(f, m.Metric, at.Child("metric"))
	target(f, m.Target, at.Child("target"))
	if m.Target.Value == nil && m.Target.AverageValue == nil {
		f.Required(at.Child("target", "averageValue"), "must set either a target value or averageValue")
	}
}

func externalMetric(f *rule.Faults, m *autoscalingv2.ExternalMetricSource, at *field.Path) {
	identifier(f, m.Metric, at.Child("metric"))
	target(f, m.Target, at.Child("target"))
	switch value, average := m.Target.Value != nil, m.Target.AverageValue != nil; {
	case !value && !average:
		f.Required(at.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target")
	case value && average:
		f.Forbidden(at.Child("target", "value"), "may not set both a target value for metric and a per-pod target")
	}
}

func podsMetric(f *rule.Faults, m *autoscalingv2.PodsMetricSource, at *field.Path) {
	identifier(f, m.Metric, at.Child("metric"))
	target(f, m.Target, at.Child("target"))
	if m.Target.AverageValue == nil {
		f.Required(at.Child("target", "averageValue"), "must specify a positive target averageValue")
	}
}

func containerMetric(f *rule.Faults, m *autoscalingv2.ContainerResourceMetricSource, at *field.Path) {
	if m.Name == "" {
		f.Required(at.Child("name"), "must specify a resource name")
	} else {
		podspec.LimitName(f, at.Child("name"), "Container", m.Name)
	}
	if m.Container == "" {
		f.Required(at.Child("container"), "must specify a container")
	} else {
		f.DNSLabel(at.Child("container"), m.Container)
	}
	usage(f, m.Target, at.Child("target"))
}

// usage checks the target of a resource: a share of the request, or an amount.
func usage(f *rule.Faults, t autoscalingv2.MetricTarget, at *field.Path) {
	target(f, t, at)
	switch share, amount := t.AverageUtilization != nil, t.AverageValue != nil; {
	case !share && !amount:
		f.Required(at.Child("averageUtilization"), "must set either a target raw value or a target utilization")
	case share && amount:
		f.Forbidden(at.Child("averageValue"), "may not set both a target raw value and a target utilization")
	}
}

func target(f *rule.Faults, t autoscalingv2.MetricTarget, at *field.Path) {
	if t.Type == "" {
		f.Required(at.Child("type"), "must specify a metric target type")
	}
	switch t.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		f.Invalid(at.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue")
	}
	positive := func(name string, q *resource.Quantity) {
		if q != nil && q.Sign() != 1 {
			f.Invalid(at.Child(name), q, "must be positive")
		}
	}
	positive("value", t.Value)
	positive("averageValue", t.AverageValue)
	if u := t.AverageUtilization; u != nil && *u < 1 {
		f.Invalid(at.Child("averageUtilization"), u, "must be greater than 0")
	}
}

func identifier(f *rule.Faults, m autoscalingv2.MetricIdentifier, at *field.Path) {
	if m.Name == "" {
		f.Required(at.Child("name"), "must specify a metric name")
		return
	}
	f.Each(at.Child("name"), m.Name, path.IsValidPathSegmentName(m.Name))
}

// Limits of upstream, in seconds.
const (
	maxPeriod = 1800
	maxWindow = 3600
)

func scalingRules(f *rule.Faults, r *autoscalingv2.HPAScalingRules, at *field.Path) {
	if r == nil {
		return
	}
	if w := r.StabilizationWindowSeconds; w != nil && *w < 0 {
		f.Invalid(at.Child("stabilizationWindowSeconds"), w, "must be greater than or equal to zero")
	} else if w != nil && *w > maxWindow {
		f.Invalid(at.Child("stabilizationWindowSeconds"), w, "must be less than or equal to 3600")
	}
	if p := r.SelectPolicy; p != nil {
		rule.OneOf(f, at.Child("selectPolicy"), *p, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect)
	}
	if len(r.Policies) == 0 {
		f.Required(at.Child("policies"), "must specify at least one Policy")
	}
	for i, p := range r.Policies {
		path := at.Child("policies").Index(i)
		rule.OneOf(f, path.Child("type"), p.Type, autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy)
		f.Positive(path.Child("value"), int64(p.Value))
		f.Positive(path.Child("periodSeconds"), int64(p.PeriodSeconds))
		if p.PeriodSeconds > maxPeriod {
			f.Invalid(path.Child("periodSeconds"), p.PeriodSeconds, "must be less than or equal to 1800")
		}
	}
	if r.Tolerance != nil {
		f.Quantity(at.Child("tolerance"), *r.Tolerance)
	}
}

func validateStatus(h, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	f := &rule.Faults{}
	f.AtLeastZero(field.NewPath("status", "currentReplicas"), int64(h.Status.CurrentReplicas))
	f.AtLeastZero(field.NewPath("status", "desiredReplicas"), int64(h.Status.DesiredReplicas))
	return f.List
}
