package daemon

import (
	"context"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/pipeline"
	"clipper/catalogue"
)

// scales finds scales for the autoscaler, in the server's own process: of built-in kinds and of custom ones.
type scales struct{ client *inprocess.Client }

// Scale implements horizontalpodautoscaler.Scales.
func (s scales) Scale(ctx context.Context, namespace string, ref autoscalingv2.CrossVersionObjectReference) (*autoscalingv1.Scale, api.Resource, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, api.Resource{}, err
	}
	r := s.resource(gv.Group, ref.Kind)
	if r == nil {
		return nil, api.Resource{}, &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: gv.Group, Kind: ref.Kind}}
	}
	o, err := s.client.Get(ctx, r.Resource, namespace, ref.Name)
	if err != nil {
		return nil, api.Resource{}, err
	}
	return pipeline.ScaleOf(r, o), r.Resource, nil
}

// resource returns the one of a kind that has a scale, nil if there is none.
func (s scales) resource(group, kind string) *catalogue.Resource {
	for _, r := range s.client.Table().Resources {
		if r.Group == group && r.Kind == kind && r.Scale != nil {
			return r
		}
	}
	return nil
}
