package autoscaling

import (
	"encoding/json"
	"fmt"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
)

// Annotations in which v1 carries what it has no fields for.
const (
	metricsNote    = "autoscaling.alpha.kubernetes.io/metrics"
	statusesNote   = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsNote = "autoscaling.alpha.kubernetes.io/conditions"
	behaviorNote   = "autoscaling.alpha.kubernetes.io/behavior"
)

// notes are all the annotations that stand for fields in some version. Of those for tolerances, which only versions had
// that are served no more, nothing is read.
var notes = []string{
	metricsNote, statusesNote, conditionsNote, behaviorNote,
	"autoscaling.alpha.kubernetes.io/scale-down-tolerance", "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
}

// toV2 makes the stored form of a v1 object. Annotations that are not what toV1 writes are dropped, as
// upstream does.
func toV2(in api.Object) (api.Object, error) {
	h := in.(*autoscalingv1.HorizontalPodAutoscaler)
	out := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: *h.ObjectMeta.DeepCopy()}
	out.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(h.Spec.ScaleTargetRef),
		MinReplicas:    h.Spec.MinReplicas,
		MaxReplicas:    h.Spec.MaxReplicas,
	}
	out.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		ObservedGeneration: h.Status.ObservedGeneration,
		LastScaleTime:      h.Status.LastScaleTime,
		CurrentReplicas:    h.Status.CurrentReplicas,
		DesiredReplicas:    h.Status.DesiredReplicas,
	}
	others, _ := readNote[[]autoscalingv1.MetricSpec](h, metricsNote)
	for _, m := range others {
		out.Spec.Metrics = append(out.Spec.Metrics, specToV2(m))
	}
	if percent := h.Spec.TargetCPUUtilizationPercentage; percent != nil {
		out.Spec.Metrics = append(out.Spec.Metrics, cpuUtilization(*percent))
	}
	if len(out.Spec.Metrics) == 0 {
		out.Spec.Metrics = []autoscalingv2.MetricSpec{cpuUtilization(80)}
	}
	if b, ok := readNote[autoscalingv2.HorizontalPodAutoscalerBehavior](h, behaviorNote); ok && b != (autoscalingv2.HorizontalPodAutoscalerBehavior{}) {
		out.Spec.Behavior = &b
	}
	if percent := h.Status.CurrentCPUUtilizationPercentage; percent != nil {
		out.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricStatus{
				Name:    corev1.ResourceCPU,
				Current: autoscalingv2.MetricValueStatus{AverageUtilization: percent},
			},
		}}
	}
	if statuses, ok := readNote[[]autoscalingv1.MetricStatus](h, statusesNote); ok { // these know more, even if that is: nothing
		out.Status.CurrentMetrics = nil
		for _, m := range statuses {
			out.Status.CurrentMetrics = append(out.Status.CurrentMetrics, statusToV2(m))
		}
	}
	out.Status.Conditions, _ = readNote[[]autoscalingv2.HorizontalPodAutoscalerCondition](h, conditionsNote)
	dropNotes(out)
	return out, nil
}

// toV1 makes the v1 form of a stored object.
func toV1(in api.Object) (api.Object, error) {
	h := in.(*autoscalingv2.HorizontalPodAutoscaler)
	out := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: h.ObjectMeta}
	out.Annotations = maps.Clone(h.Annotations)
	dropNotes(out)
	out.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(h.Spec.ScaleTargetRef),
		MinReplicas:    h.Spec.MinReplicas,
		MaxReplicas:    h.Spec.MaxReplicas,
	}
	out.Status = autoscalingv1.HorizontalPodAutoscalerStatus{
		ObservedGeneration: h.Status.ObservedGeneration,
		LastScaleTime:      h.Status.LastScaleTime,
		CurrentReplicas:    h.Status.CurrentReplicas,
		DesiredReplicas:    h.Status.DesiredReplicas,
	}
	var others []autoscalingv1.MetricSpec
	for _, m := range h.Spec.Metrics {
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Target.AverageUtilization != nil {
			if out.Spec.TargetCPUUtilizationPercentage == nil {
				out.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
			}
			continue
		}
		others = append(others, specToV1(m))
	}
	var statuses []autoscalingv1.MetricStatus
	for _, m := range h.Status.CurrentMetrics {
		statuses = append(statuses, statusToV1(m))
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Current.AverageUtilization != nil {
			out.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
		}
	}
	return out, writeNotes(out, h, others, statuses)
}

func writeNotes(out *autoscalingv1.HorizontalPodAutoscaler, h *autoscalingv2.HorizontalPodAutoscaler, metrics []autoscalingv1.MetricSpec, statuses []autoscalingv1.MetricStatus) error {
	values := map[string]any{}
	if len(metrics) > 0 {
		values[metricsNote] = metrics
	}
	if len(statuses) > 0 {
		values[statusesNote] = statuses
	}
	if len(h.Status.Conditions) > 0 {
		values[conditionsNote] = h.Status.Conditions
	}
	if h.Spec.Behavior != nil {
		values[behaviorNote] = behaviorOf(h.Spec.Behavior)
	}
	for key, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("horizontalpodautoscaler %s/%s: write annotation %s: %w", h.Namespace, h.Name, key, err)
		}
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[key] = string(text)
	}
	return nil
}

func readNote[V any](o api.Object, key string) (value V, ok bool) {
	var zero V
	text, ok := o.GetAnnotations()[key]
	if !ok || json.Unmarshal([]byte(text), &value) != nil {
		return zero, false
	}
	return value, true
}

func dropNotes(o api.Object) {
	set := o.GetAnnotations()
	for _, key := range notes {
		delete(set, key)
	}
}
