package lifecycle

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/runtime"
)

// TestContainersShareInTheirPod: a container without a limit of its own has its pod's, and is resized with it.
func TestContainersShareInTheirPod(t *testing.T) {
	req := func(limits string) *corev1.ResourceRequirements {
		return &corev1.ResourceRequirements{Limits: amounts(limits)}
	}
	for _, tc := range []struct {
		name                       string
		granted, applied           *corev1.ResourceRequirements
		grantedPod, appliedPod     *corev1.ResourceRequirements
		outgrown, restart, podLeft bool
	}{
		{"nothing new", req("1/1Gi"), req("1/1Gi"), nil, nil, false, false, false},
		{"its own", req("2/1Gi"), req("1/1Gi"), nil, nil, true, false, false},
		{"its own, by a restart", req("1/2Gi"), req("1/1Gi"), nil, nil, true, true, false},
		{"its pod's", req("-/-"), req("-/-"), req("2/1Gi"), req("1/1Gi"), true, false, true},
		{"its pod's, by a restart", req("-/-"), req("-/-"), req("1/2Gi"), req("1/1Gi"), true, true, true},
		{"its pod's, but it has its own", req("1/1Gi"), req("1/1Gi"), req("2/2Gi"), req("2/1Gi"), false, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &Record{Granted: tc.granted, Applied: tc.applied, AppliedPod: tc.appliedPod,
				Current: &runtime.ContainerStatus{State: runtime.Running}}
			o := &Observed{Granted: tc.grantedPod, Applied: tc.appliedPod, Containers: map[string]*Record{"a": r}}
			c := &corev1.Container{ResizePolicy: []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}}
			has, wants := o.Shares(r)
			if o.outgrown(r) != tc.outgrown || needsRestart(c, has, wants) != tc.restart || o.podResizing() != tc.podLeft {
				t.Errorf("outgrown %v, restart %v, pod %v", o.outgrown(r), needsRestart(c, has, wants), o.podResizing())
			}
			if o.ResizeUnderWay() != (tc.outgrown || tc.podLeft) {
				t.Error("resizing:", o.ResizeUnderWay())
			}
		})
	}
}

// TestRestartIsPartOfAResize: a container that is stopped to be resized has not got its share yet.
func TestRestartIsPartOfAResize(t *testing.T) {
	r := &Record{Replacing: true, Current: &runtime.ContainerStatus{State: runtime.Exited}}
	o := &Observed{Containers: map[string]*Record{"a": r}, Resizing: &Resizing{}}
	if !o.ResizeUnderWay() {
		t.Error("the resize is over before the container has started again")
	}
	r.Replacing = false
	if o.ResizeUnderWay() {
		t.Error("the resize never ends")
	}
	r.Replacing, o.Resizing = true, nil
	if o.ResizeUnderWay() {
		t.Error("a new image is no resize")
	}
}
