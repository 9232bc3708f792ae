package autoscaling

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"clipper/catalogue/rule"
)

// decoded makes of what a client wrote what the server works with: v2 has fields for all that v1 carries in annotations,
// and takes none of these.
func decoded(h *autoscalingv2.HorizontalPodAutoscaler) {
	dropNotes(h)
	setDefaults(h)
}

func setDefaults(h *autoscalingv2.HorizontalPodAutoscaler) {
	rule.SetIfNil(&h.Spec.MinReplicas, 1)
	if len(h.Spec.Metrics) == 0 {
		h.Spec.Metrics = []autoscalingv2.MetricSpec{cpuUtilization(80)}
	}
	if b := h.Spec.Behavior; b != nil {
		rule.SetIfNil(&b.ScaleUp, autoscalingv2.HPAScalingRules{})
		rule.SetIfNil(&b.ScaleDown, autoscalingv2.HPAScalingRules{})
		defaultRules(b.ScaleUp, new(int32(0)),
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
		// Scaling down keeps no window here: the controller's own setting applies.
		defaultRules(b.ScaleDown, nil,
			autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15})
	}
}

func defaultRules(r *autoscalingv2.HPAScalingRules, window *int32, policies ...autoscalingv2.HPAScalingPolicy) {
	rule.SetIfNil(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if r.StabilizationWindowSeconds == nil {
		r.StabilizationWindowSeconds = window
	}
	if r.Policies == nil {
		r.Policies = policies
	}
}

func cpuUtilization(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{
		Type: autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricSource{
			Name:   corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
		},
	}
}
