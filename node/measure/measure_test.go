package measure

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/node/nodetest"
	"clipper/node/runtime"
)

// A pod that takes ten seconds, four of them for its image.
func TestStartup(t *testing.T) {
	m := New()
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", CreationTimestamp: metav1.NewTime(at(0))}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "i"}}}}
	running := pod.DeepCopy()
	running.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	m.Observed(pod, at(1))
	m.pulled("i", at(2), at(6))
	m.Observed(pod, at(7))
	m.Observed(running, at(10))
	m.Observed(running, at(20))
	old := running.DeepCopy()
	old.UID = "started before the agent"
	m.Observed(old, at(20))
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m.Collectors()...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"kubelet_pod_start_duration_seconds": 9, "kubelet_pod_start_sli_duration_seconds": 6, "kubelet_pod_start_total_duration_seconds": 10}
	for _, f := range families {
		if sum, ok := want[f.GetName()]; ok {
			if h := f.Metric[0].GetHistogram(); h.GetSampleCount() != 1 || h.GetSampleSum() != sum {
				t.Errorf("%s: %d pods took %v together, want %v", f.GetName(), h.GetSampleCount(), h.GetSampleSum(), sum)
			}
			delete(want, f.GetName())
		}
	}
	if len(want) > 0 {
		t.Errorf("no %v", want)
	}
	m.Observed(pod, at(30))
	m.Gone("u")
	if len(m.waiting) != 0 {
		t.Error("a pod that is gone is waited for")
	}
}

func TestOperations(t *testing.T) {
	m := New()
	rt := m.Runtime(nodetest.NewRuntime())
	ctx := context.Background()
	if err := rt.RunSandbox(ctx, runtime.Sandbox{ID: "s", PodUID: "u"}); err != nil {
		t.Fatal(err)
	}
	if err := rt.StartContainer(ctx, "none"); err == nil {
		t.Fatal("started a container that is not there")
	}
	for operation, want := range map[string][2]float64{"run_podsandbox": {1, 0}, "start_container": {1, 1}} {
		if got := testutil.ToFloat64(m.operations.WithLabelValues(operation)); got != want[0] {
			t.Errorf("%s: %v times", operation, got)
		}
		if got := testutil.ToFloat64(m.errors.WithLabelValues(operation)); got != want[1] {
			t.Errorf("%s: %v errors", operation, got)
		}
	}
	if got := testutil.ToFloat64(m.startedPods); got != 1 {
		t.Errorf("%v pods started", got)
	}
	for bytes, want := range map[int64]string{0: "N/A", 1: "0-10MB", 11 << 20: "10MB-100MB", 2 << 30: "1GB-5GB", 101 << 30: "GT100GB"} {
		if got := sizeClass(bytes); got != want {
			t.Errorf("%d bytes are %s, want %s", bytes, got, want)
		}
	}
}
