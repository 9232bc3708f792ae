package podworker

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestSummaryOfAResize(t *testing.T) {
	pod := newPod(corev1.Container{Name: "a", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("1Gi")}}})
	const want = `{"containers":[{"name":"a","resources":{"requests":{"cpu":"100m","memory":"1Gi"}}}],"generation":3,"error":"why"}`
	if got := summary(pod, 3, "why"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
