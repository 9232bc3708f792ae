package probe

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
)

func TestMetrics(t *testing.T) {
	m := NewMetrics()
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", ReadinessProbe: &corev1.Probe{}}}}}
	pod.Name, pod.Namespace, pod.UID = "p", "ns", "u"
	other := pod.DeepCopy()
	other.Name, other.UID = "q", "v"
	checked := m.Observer(pod, "c", Readiness)
	for _, r := range []Result{Success, Warning, Failure, Unknown} {
		checked(r, time.Millisecond)
	}
	m.Observer(other, "c", Readiness)(Success, time.Millisecond)
	for result, want := range map[string]float64{"successful": 2, "failed": 1, "unknown": 1} {
		if got := testutil.ToFloat64(m.total.WithLabelValues("Readiness", result, "c", "p", "ns", "u")); got != want {
			t.Errorf("%s: %v, want %v", result, got, want)
		}
	}
	m.Forget(pod)
	if n := testutil.CollectAndCount(m.total); n != 1 {
		t.Errorf("%d series are left, want the other pod's one", n)
	}
	if n := testutil.CollectAndCount(m.duration); n != 1 {
		t.Errorf("%d histograms are left, want the other pod's one", n)
	}
	var none *Metrics
	none.Observer(pod, "c", Liveness)(Success, 0)
	none.Forget(pod)
}
