package autoscaling

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// horizontalPodAutoscalers describes HorizontalPodAutoscaler.
func horizontalPodAutoscalers() *catalogue.Resource {
	return catalogue.Describe[autoscalingv2.HorizontalPodAutoscaler, autoscalingv2.HorizontalPodAutoscalerList](catalogue.Kind[*autoscalingv2.HorizontalPodAutoscaler]{
		Resource:       api.Resource{Group: "autoscaling", Version: "v2", Name: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler", Namespaced: true},
		ValidateCreate: validateCreate,
		ValidateUpdate: validateUpdate,
		ValidateStatus: validateStatus,
		Columns:        columns,
		Row:            row,
		Default:        decoded,
		Canonicalize:   setDefaults, // what came as v1 has not had all of these
		Also: []catalogue.Version{{
			Version: "v1",
			New:     func() api.Object { return new(autoscalingv1.HorizontalPodAutoscaler) },
			NewList: func() runtime.Object { return new(autoscalingv1.HorizontalPodAutoscalerList) },
			Default: func(o api.Object) { rule.SetIfNil(&o.(*autoscalingv1.HorizontalPodAutoscaler).Spec.MinReplicas, 1) },
			ToHub:   toV2,
			FromHub: toV1,
		}},
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
