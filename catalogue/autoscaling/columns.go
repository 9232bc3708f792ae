package autoscaling

import (
	"fmt"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/catalogue/table"
)

type spec = autoscalingv2.HorizontalPodAutoscalerSpec

var columns = []table.Column{
	table.Name,
	table.String("Reference", table.Doc(spec{}, "scaleTargetRef")),
	table.String("Targets", table.Doc(spec{}, "metrics")),
	table.String("MinPods", table.Doc(spec{}, "minReplicas")),
	table.String("MaxPods", table.Doc(spec{}, "maxReplicas")),
	table.String("Replicas", table.Doc(autoscalingv2.HorizontalPodAutoscalerStatus{}, "currentReplicas")),
	table.Age,
}

func row(h *autoscalingv2.HorizontalPodAutoscaler, now time.Time) []any {
	return []any{
		h.Name, h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name, metrics(h), table.OrUnset(h.Spec.MinReplicas),
		int64(h.Spec.MaxReplicas), int64(h.Status.CurrentReplicas), table.Since(h.CreationTimestamp, now),
	}
}

// metrics prints current and target value of the first two metrics.
func metrics(h *autoscalingv2.HorizontalPodAutoscaler) string {
	const shown = 2
	if len(h.Spec.Metrics) == 0 {
		return table.None
	}
	var list []string
	for i, m := range h.Spec.Metrics {
		if i == shown {
			break
		}
		var current autoscalingv2.MetricStatus
		if i < len(h.Status.CurrentMetrics) {
			current = h.Status.CurrentMetrics[i]
		}
		list = append(list, metric(m, current))
	}
	text := strings.Join(list, ", ")
	if n := len(h.Spec.Metrics); n > shown {
		text += fmt.Sprintf(" + %d more...", n-shown)
	}
	return text
}

func metric(m autoscalingv2.MetricSpec, s autoscalingv2.MetricStatus) string {
	var now autoscalingv2.MetricValueStatus
	switch {
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		if s.External != nil {
			now = s.External.Current
		}
		return rawMetric(m.External.Target, now)
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		if s.Object != nil {
			now = s.Object.Current
		}
		return rawMetric(m.Object.Target, now)
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		if s.Pods != nil {
			now = s.Pods.Current
		}
		return quantity(now.AverageValue) + "/" + quantity(m.Pods.Target.AverageValue)
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		if s.Resource != nil {
			now = s.Resource.Current
		}
		return resourceMetric(m.Resource.Name, m.Resource.Target, now)
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		if s.ContainerResource != nil {
			now = s.ContainerResource.Current
		}
		return resourceMetric(m.ContainerResource.Name, m.ContainerResource.Target, now)
	}
	return "<unknown type>"
}

func rawMetric(target autoscalingv2.MetricTarget, now autoscalingv2.MetricValueStatus) string {
	if target.AverageValue != nil {
		return quantity(now.AverageValue) + "/" + quantity(target.AverageValue) + " (avg)"
	}
	return quantity(now.Value) + "/" + quantity(target.Value)
}

func resourceMetric(name corev1.ResourceName, target autoscalingv2.MetricTarget, now autoscalingv2.MetricValueStatus) string {
	if target.AverageValue != nil {
		return fmt.Sprintf("%s: %s/%s", name, quantity(now.AverageValue), quantity(target.AverageValue))
	}
	return fmt.Sprintf("%s: %s/%s", name, percent(now.AverageUtilization, table.Unknown), percent(target.AverageUtilization, "<auto>"))
}

func percent(p *int32, otherwise string) string {
	if p == nil {
		return otherwise
	}
	return fmt.Sprintf("%d%%", *p)
}

func quantity(q *resource.Quantity) string {
	if q == nil {
		return table.Unknown
	}
	return q.String()
}
