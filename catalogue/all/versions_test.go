package all

import (
	"encoding/json"
	"math/rand"
	"slices"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"

	"clipper/api"
	"clipper/catalogue/preview"
)

// TestVersionsLoseNothing takes random objects of the storage version to every other version and back.
func TestVersionsLoseNothing(t *testing.T) {
	for _, r := range Resources() {
		for _, v := range slices.Concat(r.Also, preview.Of(r)) {
			t.Run(r.Name+"."+v.Version, func(t *testing.T) {
				f := filler(7).Funcs(fitV1, fitSlices, fitRequests)
				for range rounds {
					obj := r.New()
					f.Fill(obj)
					if r.Default != nil {
						r.Default(obj)
					}
					scheme.Scheme.Default(obj)
					before := obj.DeepCopyObject().(api.Object)
					out, err := v.FromHub(obj)
					if err != nil {
						t.Fatal(err)
					}
					if !equality.Semantic.DeepEqual(obj, before) {
						t.Fatal("FromHub changed a shared object")
					}
					back, err := v.ToHub(out)
					if err != nil {
						t.Fatal(err)
					}
					for _, o := range []api.Object{back, before} {
						o.GetObjectKind().SetGroupVersionKind(r.GVK())
						emptyIsNil(o)
					}
					if !equality.Semantic.DeepEqual(before, back) {
						t.Fatalf("round trip through %s differs:\n%+v\n%+v", v.Version, before, back)
					}
				}
			})
		}
	}
}

// TestSameForm: versions that are read from the storage version's protobuf form have their fields under the same names.
func TestSameForm(t *testing.T) {
	for _, r := range Resources() {
		for _, v := range preview.Of(r) {
			if r.Group == "resource.k8s.io" && v.Version == "v1beta1" {
				continue // another form
			}
			f := filler(11)
			for range rounds {
				filled, obj := r.New(), r.New()
				f.Fill(filled)
				data, err := filled.(interface{ Marshal() ([]byte, error) }).Marshal() // as stored: what is empty is nil
				if err == nil {
					err = obj.(interface{ Unmarshal([]byte) error }).Unmarshal(data)
				}
				if err != nil {
					t.Fatal(err)
				}
				out, err := v.FromHub(obj)
				if err != nil {
					t.Fatal(err)
				}
				want, err := json.Marshal(obj)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := json.Marshal(out); err != nil || string(got) != string(want) {
					t.Fatalf("%s in %s: %v\n%s\n%s", r.Name, v.Version, err, got, want)
				}
			}
		}
	}
}

// fitSlices keeps pointers that say nothing out of slices: resource.k8s.io/v1beta1 had no pointers there.
func fitSlices(s *resourcev1.ResourceSliceSpec, c randfill.Continue) {
	c.FillNoCustom(s)
	if s.NodeName != nil && *s.NodeName == "" {
		s.NodeName = nil
	}
	if s.AllNodes != nil && !*s.AllNodes {
		s.AllNodes = nil
	}
	for i := range s.Devices {
		if len(s.Devices[i].ConsumesCounters) == 0 {
			s.Devices[i].ConsumesCounters = nil
		}
	}
}

// fitRequests keeps to requests that ask for something: there was no other way to tell the two kinds.
func fitRequests(r *resourcev1.ExactDeviceRequest, c randfill.Continue) {
	c.FillNoCustom(r)
	r.DeviceClassName += "x"
}

// fitV1 keeps random metrics to what v1 can say: exactly one source, whose target fits its type.
func fitV1(s *autoscalingv2.HorizontalPodAutoscaler, c randfill.Continue) {
	c.FillNoCustom(s)
	s.Annotations = nil
	s.Status.CurrentMetrics, s.Status.Conditions = nil, nil
	s.Spec.Behavior = nil
	ten := resource.MustParse("10")
	s.Spec.Metrics = []autoscalingv2.MetricSpec{{
		Type: autoscalingv2.PodsMetricSourceType,
		Pods: &autoscalingv2.PodsMetricSource{
			Metric: autoscalingv2.MetricIdentifier{Name: "queue"},
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: &ten},
		},
	}, {
		Type: autoscalingv2.ExternalMetricSourceType,
		External: &autoscalingv2.ExternalMetricSource{
			Metric: autoscalingv2.MetricIdentifier{Name: "rate"},
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: &ten},
		},
	}}
	if rand.Intn(2) == 0 {
		percent := int32(rand.Intn(100) + 1)
		s.Spec.Metrics = append(s.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
			},
		})
		up := autoscalingv2.MaxChangePolicySelect
		s.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{
			SelectPolicy: &up, Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 3, PeriodSeconds: 9}},
		}}
		s.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue, Reason: "r"}}
	}
}

// emptyIsNil: an emptied set of annotations is as good as none.
func emptyIsNil(o api.Object) {
	if h, ok := o.(*autoscalingv2.HorizontalPodAutoscaler); ok && len(h.Annotations) == 0 {
		h.Annotations = nil
	}
}

// TestHPAWrittenAsV1 is what a client of v1 sees of its own words.
func TestHPAWrittenAsV1(t *testing.T) {
	for _, r := range Resources() {
		if r.Name != "horizontalpodautoscalers" {
			continue
		}
		percent := int32(55)
		in := &autoscalingv1.HorizontalPodAutoscaler{Spec: autoscalingv1.HorizontalPodAutoscalerSpec{MaxReplicas: 4, TargetCPUUtilizationPercentage: &percent}}
		hub, err := r.Also[0].ToHub(in)
		if err != nil {
			t.Fatal(err)
		}
		out, err := r.Also[0].FromHub(hub)
		if err != nil {
			t.Fatal(err)
		}
		if got := out.(*autoscalingv1.HorizontalPodAutoscaler); *got.Spec.TargetCPUUtilizationPercentage != 55 || len(got.Annotations) != 0 {
			t.Errorf("got %+v", got)
		}
	}
}
