package autoscaling

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"clipper/api"
	"clipper/catalogue"
)

// horizontalPodAutoscalers describes HorizontalPodAutoscaler.
func horizontalPodAutoscalers() *catalogue.Resource {
	return catalogue.Describe[autoscalingv2.HorizontalPodAutoscaler, autoscalingv2.HorizontalPodAutoscalerList](catalogue.Kind[*autoscalingv2.HorizontalPodAutoscaler]{
		Resource:   api.Resource{Group: "autoscaling", Version: "v2", Name: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler", Namespaced: true},
		ShortNames: []string{"hpa"},
		Categories: []string{"all"},
		Spec: catalogue.PartOf(func(o *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerSpec {
			return &o.Spec
		}),
		Status: catalogue.PartOf(func(o *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerStatus {
			return &o.Status
		}),
	})
}
