package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/node/nodetest"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// pod is one that has been ready for ten minutes and asks for 100m.
func pod(name string, change func(*corev1.Pod)) *corev1.Pod {
	long := metav1.NewTime(start.Add(-10 * time.Minute))
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &long,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: long}}}}
	if change != nil {
		change(p)
	}
	return p
}

func pending(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }
func failed(p *corev1.Pod)  { p.Status.Phase = corev1.PodFailed }
func starting1(p *corev1.Pod) {
	now := metav1.NewTime(start.Add(-10 * time.Second))
	p.Status.StartTime, p.Status.Conditions[0].LastTransitionTime = &now, now
}

// The cases are those that upstream's calculator is known by: use in thousandths by pod, against 50 percent of 100m.
func TestPropose(t *testing.T) {
	for name, tt := range map[string]struct {
		pods    []*corev1.Pod
		use     map[string]int64
		current int32
		want    int32
		err     string
	}{
		"twice the target":                   {[]*corev1.Pod{pod("a", nil), pod("b", nil)}, map[string]int64{"a": 100, "b": 100}, 2, 4, ""},
		"half of it":                         {[]*corev1.Pod{pod("a", nil), pod("b", nil)}, map[string]int64{"a": 25, "b": 25}, 2, 1, ""},
		"near it":                            {[]*corev1.Pod{pod("a", nil), pod("b", nil)}, map[string]int64{"a": 54, "b": 54}, 2, 2, ""},
		"one pending counts as idle":         {[]*corev1.Pod{pod("a", nil), pod("b", pending)}, map[string]int64{"a": 150}, 2, 3, ""},
		"one starting counts as idle":        {[]*corev1.Pod{pod("a", nil), pod("b", starting1)}, map[string]int64{"a": 100, "b": 1000}, 2, 2, ""},
		"one failed does not count":          {[]*corev1.Pod{pod("a", nil), pod("b", failed)}, map[string]int64{"a": 100, "b": 900}, 2, 2, ""},
		"unknown use does not let it shrink": {[]*corev1.Pod{pod("a", nil), pod("b", nil)}, map[string]int64{"a": 5}, 2, 2, ""},
		"unknown use holds growth back":      {[]*corev1.Pod{pod("a", nil), pod("b", nil)}, map[string]int64{"a": 150}, 2, 3, ""},
		"unknown use does not turn it round": {[]*corev1.Pod{pod("a", nil), pod("b", nil)}, map[string]int64{"a": 70}, 2, 2, ""},
		"no pods":                            {nil, map[string]int64{"a": 1}, 2, 0, "no pods returned by selector"},
		"nothing but unready":                {[]*corev1.Pod{pod("b", pending)}, map[string]int64{"b": 1}, 2, 0, "did not receive metrics for targeted pods"},
	} {
		known := map[string]sample{}
		for p, v := range tt.use {
			known[p] = sample{at: start, window: 15 * time.Second, value: v}
		}
		asked, err := requests(tt.pods, corev1.ResourceCPU, "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := propose(tt.pods, known, corev1.ResourceCPU, &target{utilization: 50, requests: asked}, tolerances{tolerance, tolerance}, tt.current, start)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || got.replicas != tt.want {
			t.Errorf("%s: %+v, %v; want %d", name, got, err, tt.want)
		}
	}
}

func TestProposeByAmount(t *testing.T) {
	pods := []*corev1.Pod{pod("a", nil), pod("b", nil)}
	known := map[string]sample{"a": {value: 300_000, at: start}, "b": {value: 500_000, at: start}}
	got, err := propose(pods, known, corev1.ResourceMemory, &target{average: 200_000}, tolerances{tolerance, tolerance}, 2, start)
	if err != nil || got.replicas != 4 || got.average != 400_000 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRequestsMissing(t *testing.T) {
	bare := pod("a", func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = nil })
	if _, err := requests([]*corev1.Pod{bare}, corev1.ResourceCPU, ""); err == nil || err.Error() != "missing request for cpu in container c of Pod a" {
		t.Error(err)
	}
	if _, err := requests([]*corev1.Pod{pod("a", nil)}, corev1.ResourceCPU, "x"); err == nil || err.Error() != "container x not found in Pod a" {
		t.Error(err)
	}
}

func TestSamples(t *testing.T) {
	m := func(name string, use ...corev1.ResourceList) metricsv1beta1.PodMetrics {
		out := metricsv1beta1.PodMetrics{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for i, u := range use {
			out.Containers = append(out.Containers, metricsv1beta1.ContainerMetrics{Name: fmt.Sprintf("c%d", i), Usage: u})
		}
		return out
	}
	cpu := func(s string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(s)}
	}
	all := []metricsv1beta1.PodMetrics{m("both", cpu("100m"), cpu("50m")), m("one", cpu("7m"))}
	if got := samples(all, corev1.ResourceCPU, ""); got["both"].value != 150 || got["one"].value != 7 {
		t.Errorf("%v", got)
	}
	if got := samples(all, corev1.ResourceCPU, "c1"); len(got) != 1 || got["both"].value != 50 {
		t.Errorf("of one container: %v", got)
	}
}

func TestHistory(t *testing.T) {
	policies := func(window int32, pick autoscalingv2.ScalingPolicySelect, p ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
		return &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &window, SelectPolicy: &pick, Policies: p}
	}
	podsPer := func(n, s int32) autoscalingv2.HPAScalingPolicy {
		return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: n, PeriodSeconds: s}
	}
	percentPer := func(n, s int32) autoscalingv2.HPAScalingPolicy {
		return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: n, PeriodSeconds: s}
	}
	behavior := func(up, down *autoscalingv2.HPAScalingRules) *autoscalingv2.HorizontalPodAutoscalerBehavior {
		return &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: up, ScaleDown: down}
	}
	const most, least, off = autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect
	ago := func(d time.Duration, n int32) event { return event{start.Add(-d), n} }
	for name, tt := range map[string]struct {
		h       history
		b       bound
		desired int32
		want    int32
		reasons string
	}{
		"plain":                      {history{}, bound{2, 1, 10, nil}, 3, 3, "ReadyForNewScale DesiredWithinRange"},
		"too many":                   {history{}, bound{8, 1, 10, nil}, 12, 10, "ReadyForNewScale TooManyReplicas"},
		"too few":                    {history{}, bound{3, 2, 10, nil}, 1, 2, "ReadyForNewScale TooFewReplicas"},
		"too fast":                   {history{}, bound{3, 1, 100, nil}, 50, 6, "ReadyForNewScale ScaleUpLimit"},
		"not down yet":               {history{recommended: []event{ago(time.Minute, 5)}}, bound{5, 1, 10, nil}, 2, 5, "ScaleDownStabilized DesiredWithinRange"},
		"down after five minutes":    {history{recommended: []event{ago(6*time.Minute, 5)}}, bound{5, 1, 10, nil}, 2, 2, "ReadyForNewScale DesiredWithinRange"},
		"up is held back":            {history{recommended: []event{ago(time.Second, 3)}}, bound{3, 1, 10, behavior(policies(60, most, podsPer(9, 60)), policies(0, most, percentPer(100, 15)))}, 8, 3, "ScaleUpStabilized DesiredWithinRange"},
		"policy of pods":             {history{}, bound{3, 1, 50, behavior(policies(0, most, podsPer(2, 60)), policies(0, most))}, 20, 5, "ReadyForNewScale ScaleUpLimit"},
		"policy used up":             {history{ups: []event{ago(10*time.Second, 2)}}, bound{5, 1, 50, behavior(policies(0, most, podsPer(2, 60)), policies(0, most))}, 20, 5, "ReadyForNewScale ScaleUpLimit"},
		"the policy that gives more": {history{}, bound{10, 1, 50, behavior(policies(0, most, podsPer(2, 60), percentPer(50, 60)), policies(0, most))}, 40, 15, "ReadyForNewScale ScaleUpLimit"},
		"the one that gives less":    {history{}, bound{10, 1, 50, behavior(policies(0, least, podsPer(2, 60), percentPer(50, 60)), policies(0, most))}, 40, 12, "ReadyForNewScale ScaleUpLimit"},
		"down by percent":            {history{}, bound{10, 1, 50, behavior(policies(0, most, podsPer(4, 15)), policies(0, most, percentPer(10, 60)))}, 2, 9, "ReadyForNewScale ScaleDownLimit"},
		"down is off":                {history{}, bound{10, 1, 50, behavior(policies(0, most, podsPer(4, 15)), policies(0, off))}, 2, 10, "ReadyForNewScale ScaleDownLimit"},
	} {
		stable, n1 := tt.h.stabilize(tt.desired, tt.b, start)
		got, n2 := tt.h.limit(stable, tt.b, start)
		if reasons := n1.reason + " " + n2.reason; got != tt.want || reasons != tt.reasons {
			t.Errorf("%s: %d (%s), want %d (%s)", name, got, reasons, tt.want, tt.reasons)
		}
	}
}

// A world is a Deployment of one pod, whose use is what the test says.
type world struct {
	*nodetest.Client
	mu       sync.Mutex
	replicas int32
	use      string
	told     []string
}

func (w *world) PodsOf(context.Context, string, labels.Selector) ([]metricsv1beta1.PodMetrics, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.use == "" {
		return nil, errors.New("out of order")
	}
	return []metricsv1beta1.PodMetrics{{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Timestamp: metav1.Now(), Window: metav1.Duration{Duration: 15 * time.Second},
		Containers: []metricsv1beta1.ContainerMetrics{{Name: "c", Usage: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(w.use)}}}}}, nil
}

func (w *world) Scale(_ context.Context, ns string, ref autoscalingv2.CrossVersionObjectReference) (*autoscalingv1.Scale, api.Resource, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: ref.Name}, Spec: autoscalingv1.ScaleSpec{Replicas: w.replicas},
		Status: autoscalingv1.ScaleStatus{Replicas: w.replicas, Selector: "app=web"}}, api.Resource{Group: "apps", Version: "v1", Name: "deployments"}, nil
}

func (w *world) Update(ctx context.Context, r api.Resource, sub string, obj api.Object, o metav1.UpdateOptions) (api.Object, error) {
	if s, ok := obj.(*autoscalingv1.Scale); ok && sub == "scale" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.replicas = s.Spec.Replicas
		return s, nil
	}
	return w.Client.Update(ctx, r, sub, obj, o)
}

func (w *world) Event(_ api.Object, _, reason, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, reason+": "+fmt.Sprintf(format, args...))
}

// Under load the Deployment grows at once; when the load ends it shrinks after five minutes; what cannot be measured
// stays as it is, and says so.
func TestController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{Client: nodetest.NewClient(), replicas: 1, use: "250m"}
		long := metav1.NewTime(time.Now().Add(-10 * time.Minute))
		p := pod("web", func(p *corev1.Pod) { p.Status.StartTime, p.Status.Conditions[0].LastTransitionTime = &long, long })
		hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "h"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}, MinReplicas: ptr.To[int32](1), MaxReplicas: 3,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](50)}}}}}}
		ctx, cancel := context.WithCancel(t.Context())
		for _, err := range []error{create(api.Pods, w, p), create(autoscalers, w, hpa)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error)
		go func() { done <- New(w, w, w, w).Run(ctx) }()
		look := func(after time.Duration, replicas int32, told, conditions string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			h, err := autoscalers.Get(ctx, w, "ns", "h")
			if err != nil {
				t.Fatal(err)
			}
			var have []string
			for _, c := range h.Status.Conditions {
				have = append(have, fmt.Sprintf("%s=%s(%s)", c.Type, c.Status, c.Reason))
			}
			slices.Sort(have)
			w.mu.Lock()
			defer w.mu.Unlock()
			if got := strings.Join(w.told, "; "); w.replicas != replicas || got != told || strings.Join(have, " ") != conditions {
				t.Errorf("%d replicas, told %q, %v; want %d, %q, %s", w.replicas, got, have, replicas, told, conditions)
			}
			w.told = nil
		}
		load := func(use string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.use = use
		}
		const active = "ScalingActive=True(ValidMetricFound)"
		look(time.Second, 3, "SuccessfulRescale: New size: 3; reason: cpu resource utilization (percentage of request) above target",
			"AbleToScale=True(SucceededRescale) "+active+" ScalingLimited=True(TooManyReplicas)")
		load("10m")
		look(time.Minute, 3, "", "AbleToScale=True(ScaleDownStabilized) "+active+" ScalingLimited=True(TooManyReplicas)")
		load("")
		look(15*time.Second, 3, "FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: out of order; "+
			"FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: out of order",
			"AbleToScale=True(SucceededGetScale) ScalingActive=False(FailedGetResourceMetric) ScalingLimited=True(TooManyReplicas)")
		load("10m")
		look(10*time.Minute, 1, "SuccessfulRescale: New size: 1; reason: All metrics below target",
			"AbleToScale=True(ReadyForNewScale) "+active+" ScalingLimited=False(DesiredWithinRange)")
		cancel()
		<-done
	})
}

func create[T api.Object](k api.Kind[T], w *world, obj T) error {
	_, err := k.Create(context.Background(), w, obj)
	return err
}
