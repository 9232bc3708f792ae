package scheduler

import (
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
)

// TestPodResources: requests and limits with their units, but not those of pods that are over.
func TestPodResources(t *testing.T) {
	priority := int32(7)
	pod := func(name, node string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Status: corev1.PodStatus{Phase: phase},
			Spec: corev1.PodSpec{NodeName: node, SchedulerName: "default-scheduler", Priority: &priority, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), "hugepages-2Mi": resource.MustParse("2Mi"), "example.com/gpu": resource.MustParse("1")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
			}}}}}
	}
	c := &apitest.Client{}
	for _, p := range []*corev1.Pod{pod("runs", "n1", corev1.PodRunning), pod("waits", "", corev1.PodPending), pod("over", "n1", corev1.PodFailed)} {
		if _, err := api.Pods.Create(t.Context(), c, p); err != nil {
			t.Fatal(err)
		}
	}
	w := httptest.NewRecorder()
	PodResources(c).ServeHTTP(w, httptest.NewRequest("GET", "/metrics/resources", nil))
	text := w.Body.String()
	for _, want := range []string{
		`kube_pod_resource_request{namespace="default",node="n1",pod="runs",priority="7",resource="cpu",scheduler="default-scheduler",unit="cores"} 0.25`,
		`kube_pod_resource_request{namespace="default",node="n1",pod="runs",priority="7",resource="hugepages-2Mi",scheduler="default-scheduler",unit="bytes"} 2.097152e+06`,
		`kube_pod_resource_request{namespace="default",node="n1",pod="runs",priority="7",resource="example.com/gpu",scheduler="default-scheduler",unit=""} 1`,
		`kube_pod_resource_limit{namespace="default",node="",pod="waits",priority="7",resource="memory",scheduler="default-scheduler",unit="bytes"} 6.7108864e+07`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%s is not there", want)
		}
	}
	if strings.Contains(text, `pod="over"`) {
		t.Error("a pod that is over is shown")
	}
}
