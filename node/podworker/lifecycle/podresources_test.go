package lifecycle

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"

	"clipper/node/runtime"
)

// amounts reads cpu/memory, - for none.
func amounts(s string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i, text := range strings.Split(s, "/") {
		if text != "-" {
			out[resizable[i]] = apiresource.MustParse(text)
		}
	}
	return out
}

func shown(r *corev1.ResourceRequirements) string {
	var parts []string
	for kind, list := range map[string]corev1.ResourceList{"req": r.Requests, "lim": r.Limits} {
		for name, q := range list {
			parts = append(parts, fmt.Sprintf("%s.%s=%s", kind, name, q.String()))
		}
	}
	sort.Strings(parts)
	return strings.Join(parts, " ")
}

func TestResourcesOfThePodAsAWhole(t *testing.T) {
	req := func(requests, limits string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: amounts(requests), Limits: amounts(limits)}
	}
	for _, tc := range []struct {
		name               string
		phase              corev1.PodPhase
		spec               corev1.ResourceRequirements  // of the container
		pod                *corev1.ResourceRequirements // of the pod
		applied            *corev1.ResourceRequirements // to the container
		want, wantGranted  string
		noLimitsOfItsOther bool
	}{
		{name: "nothing asked for", phase: corev1.PodRunning, spec: req("-/-", "-/-")},
		{name: "running", phase: corev1.PodRunning, spec: req("100m/1Gi", "200m/2Gi"),
			want: "lim.cpu=200m lim.memory=2Gi req.cpu=100m req.memory=1Gi", wantGranted: "req.cpu=100m req.memory=1Gi"},
		{name: "too little to count", phase: corev1.PodRunning, spec: req("1m/-", "-/-"), wantGranted: "req.cpu=1m"},
		{name: "pending", phase: corev1.PodPending, spec: req("1m/-", "-/-"), want: "req.cpu=1m", wantGranted: "req.cpu=1m"},
		{name: "a limit that not all have is none of the pod", phase: corev1.PodRunning, spec: req("100m/-", "200m/1Gi"), noLimitsOfItsOther: true,
			want: "req.cpu=100m", wantGranted: "req.cpu=100m"},
		{name: "one of its own is", phase: corev1.PodRunning, spec: req("100m/-", "-/-"), pod: &corev1.ResourceRequirements{Requests: amounts("300m/-"), Limits: amounts("500m/1Gi")},
			want: "lim.cpu=500m lim.memory=1Gi req.cpu=300m", wantGranted: "req.cpu=300m"},
		{name: "being resized", phase: corev1.PodRunning, spec: req("200m/-", "-/-"), applied: &corev1.ResourceRequirements{Requests: amounts("100m/-")},
			want: "req.cpu=100m", wantGranted: "req.cpu=200m"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod := newPod()
			pod.Status.Phase = tc.phase
			pod.Spec.Resources = tc.pod
			pod.Spec.Containers = []corev1.Container{{Name: "a", Resources: tc.spec}}
			if tc.noLimitsOfItsOther {
				pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "b"})
			}
			o := &Observed{Containers: map[string]*Record{}, Granted: tc.pod, Applied: tc.pod}
			if tc.applied != nil {
				o.Containers["a"] = &Record{Granted: &tc.spec, Applied: tc.applied, Current: &runtime.ContainerStatus{State: runtime.Running}}
			}
			has, granted := (&reporter{pod: pod, o: o}).resources()
			if got := shown(has); got != tc.want {
				t.Errorf("has %q, want %q", got, tc.want)
			}
			if got := shown(&corev1.ResourceRequirements{Requests: granted}); got != tc.wantGranted {
				t.Errorf("granted %q, want %q", got, tc.wantGranted)
			}
		})
	}
}
