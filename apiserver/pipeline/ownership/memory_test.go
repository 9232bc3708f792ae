package ownership

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestLargeAnswers: what a pod of thousands of labels taught is not kept.
func TestLargeAnswers(t *testing.T) {
	_, m := managers(t, podResource(t), "")
	large := benchPod("large")
	for i := range 10_000 {
		large.Labels[fmt.Sprint("label-", i)] = "x"
	}
	for name, pod := range map[string]*corev1.Pod{"small": benchPod("small"), "large": large} {
		m.memory = memory{}
		m.Update(nil, pod, "test")
		if len(pod.ManagedFields) != 1 {
			t.Fatalf("%s: %d entries", name, len(pod.ManagedFields))
		}
		if got := len(m.memory.young); (got == 1) != (name == "small") {
			t.Errorf("%s: %d answers are remembered", name, got)
		}
	}
}
