package extension_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"

	"clipper/api/packed"
	"clipper/apiserver/admission/extension"
	"clipper/apiserver/customresource"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/apiserver/served"
	"clipper/catalogue"
)

// TestVersions: an object in another version and back again is what it was.
func TestVersions(t *testing.T) {
	o := extension.NewObjects(inprocesstest.New(t))
	percent := int32(50)
	stored := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "h"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 3,
		Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}}}}}}
	before := stored.DeepCopy()
	v1, err := upstream.ConvertToGVK(stored, autoscalingv1.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"), o)
	if err != nil {
		t.Fatal(err)
	}
	old, ok := v1.(*autoscalingv1.HorizontalPodAutoscaler)
	if !ok || old.APIVersion != "autoscaling/v1" || old.Spec.TargetCPUUtilizationPercentage == nil || *old.Spec.TargetCPUUtilizationPercentage != 50 {
		t.Fatalf("%T %+v", v1, v1)
	}
	*old.Spec.TargetCPUUtilizationPercentage = 70
	if err := o.Convert(old, stored, nil); err != nil {
		t.Fatal(err)
	}
	if n := *stored.Spec.Metrics[0].Resource.Target.AverageUtilization; n != 70 || stored.Kind != "" {
		t.Errorf("utilization %d, kind %q", n, stored.Kind)
	}
	v2, err := upstream.ConvertToGVK(before, autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"), o)
	if err != nil || v2.(*autoscalingv2.HorizontalPodAutoscaler).APIVersion != "autoscaling/v2" || before.APIVersion != "" {
		t.Errorf("%+v %v", v2, err)
	}
	untyped := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "d"}}}
	typed, err := o.ConvertToVersion(untyped, appsv1.SchemeGroupVersion)
	if d, ok := typed.(*appsv1.Deployment); err != nil || !ok || d.Name != "d" {
		t.Errorf("%T %v", typed, err)
	}
	if err := o.Convert(stored, &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}, nil); err == nil {
		t.Error("an autoscaler became a pod")
	}
}

// tableOnly is a client that is asked for its table alone.
type tableOnly struct {
	extension.Client
	table *served.Table
}

func (c tableOnly) Table() *served.Table { return c.table }

// TestPacked: nobody is shown a definition in the form that it has in memory, be it the old state or, where a status is
// written, the new one. The pipeline names the kind of neither.
func TestPacked(t *testing.T) {
	table, err := served.NewTable([]*catalogue.Resource{customresource.Definition()})
	if err != nil {
		t.Fatal(err)
	}
	d := &apiextensionsv1.CustomResourceDefinition{}
	d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Schema: &apiextensionsv1.CustomResourceValidation{
		OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Description: strings.Repeat("long ", 1000)},
	}}}
	kept := packed.Pack(d)
	if !packed.Is(kept) {
		t.Fatal("nothing is packed")
	}
	shown, err := upstream.ConvertToGVK(kept, customresource.Definitions.GVK(), extension.NewObjects(tableOnly{table: table}))
	if err != nil {
		t.Fatal(err)
	}
	if got := shown.(*apiextensionsv1.CustomResourceDefinition); got.Kind == "" || got.Spec.Versions[0].Schema.OpenAPIV3Schema.Type != "object" || !packed.Is(kept) {
		t.Errorf("shown as %.300v", got)
	}
}

// TestStreamOptions: what a webhook makes of the options of an exec comes into those under admission, though they are
// no object with metadata.
func TestStreamOptions(t *testing.T) {
	o := extension.NewObjects(inprocesstest.New(t))
	asked := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "PodExecOptions", "command": []any{"sh"}}}
	seen := &corev1.PodExecOptions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodExecOptions"}, Command: []string{"true"}}
	if err := o.Convert(seen, asked, nil); err != nil || fmt.Sprint(asked.Object["command"]) != "[true]" || asked.GetKind() != "PodExecOptions" {
		t.Errorf("%v, %v", asked, err)
	}
	if err := o.Convert(seen, &corev1.PodAttachOptions{}, nil); err == nil {
		t.Error("an exec became an attach")
	}
}

func TestEquivalents(t *testing.T) {
	o := extension.NewObjects(inprocesstest.New(t))
	gvr := func(group, version, resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
	}
	for _, tt := range []struct {
		of   schema.GroupVersionResource
		sub  string
		want []schema.GroupVersionResource
		kind string
	}{
		{gvr("autoscaling", "v1", "horizontalpodautoscalers"), "", []schema.GroupVersionResource{gvr("autoscaling", "v2", "horizontalpodautoscalers"), gvr("autoscaling", "v1", "horizontalpodautoscalers")}, "autoscaling/v1, Kind=HorizontalPodAutoscaler"},
		{gvr("", "v1", "events"), "", []schema.GroupVersionResource{gvr("", "v1", "events"), gvr("events.k8s.io", "v1", "events")}, "/v1, Kind=Event"},
		{gvr("apps", "v1", "deployments"), "scale", []schema.GroupVersionResource{gvr("apps", "v1", "deployments")}, "autoscaling/v1, Kind=Scale"},
		{gvr("apps", "v1", "deployments"), "status", []schema.GroupVersionResource{gvr("apps", "v1", "deployments")}, "apps/v1, Kind=Deployment"},
		{gvr("", "v1", "pods"), "eviction", []schema.GroupVersionResource{gvr("", "v1", "pods")}, "policy/v1, Kind=Eviction"},
		{gvr("", "v1", "pods"), "ephemeralcontainers", []schema.GroupVersionResource{gvr("", "v1", "pods")}, "/v1, Kind=Pod"},
		{gvr("", "v1", "configmaps"), "scale", nil, "/, Kind="},
		{gvr("", "v9", "pods"), "", nil, "/, Kind="},
	} {
		if got := o.EquivalentResourcesFor(tt.of, tt.sub); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%v %s: %v", tt.of, tt.sub, got)
		}
		if got := o.KindFor(tt.of, tt.sub); got.String() != tt.kind {
			t.Errorf("%v %s: kind %v, want %v", tt.of, tt.sub, got, tt.kind)
		}
	}
}
