package lifecycle

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/runtime"
)

// TestReplacedContainerStaysReported: between a container whose definition has changed and the next one, the pod
// is what it was.
func TestReplacedContainerStaysReported(t *testing.T) {
	pod := newPod()
	pod.Spec.InitContainers = nil
	pod.Spec.Containers = []corev1.Container{{Name: "a", Image: "new"}}
	pod.Status.Phase = corev1.PodRunning
	yes := true
	was := corev1.ContainerStatus{Name: "a", Image: "old", Ready: true, Started: &yes, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{was}
	rec := &Record{Current: &runtime.ContainerStatus{ID: "1", State: runtime.Exited, ExitCode: 143}, Replacing: true}
	o := &Observed{Containers: map[string]*Record{"a": rec}, Busy: map[string]bool{}}
	ready := func() bool {
		st := Status(pod, o, nil, time.Now())
		return st.Phase == corev1.PodRunning && st.ContainerStatuses[0].Ready && st.ContainerStatuses[0].State.Running != nil
	}
	if !ready() {
		t.Error("between the two the pod is not ready")
	}
	rec.Image.Failure = &Failure{"ErrImagePull", "no such image"}
	if ready() {
		t.Error("ready, though the next one cannot start")
	}
	rec.Image.Failure, rec.Replacing = nil, false
	if ready() {
		t.Error("ready, though it has ended by itself")
	}
}
