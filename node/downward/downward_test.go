package downward

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestResource(t *testing.T) {
	list := func(pairs ...string) corev1.ResourceList {
		out := corev1.ResourceList{}
		for i := 0; i < len(pairs); i += 2 {
			out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return out
	}
	allocatable := list("cpu", "4", "memory", "8Gi", "hugepages-2Mi", "1Gi", "ephemeral-storage", "100Gi")
	own := &corev1.ResourceRequirements{Limits: list("cpu", "2", "memory", "1Gi")}
	for _, tc := range []struct {
		ref, divisor string
		pod          *corev1.ResourceRequirements
		c            corev1.ResourceRequirements
		want         string
	}{
		{ref: "limits.cpu", want: "4"},
		{ref: "limits.cpu", c: corev1.ResourceRequirements{Limits: list("cpu", "1500m")}, want: "2"},
		{ref: "limits.cpu", divisor: "1m", c: corev1.ResourceRequirements{Limits: list("cpu", "1500m")}, want: "1500"},
		{ref: "limits.cpu", pod: own, want: "2"},
		{ref: "limits.memory", divisor: "1Mi", pod: own, want: "1024"},
		{ref: "limits.memory", divisor: "1Mi", pod: own, c: corev1.ResourceRequirements{Limits: list("memory", "64Mi")}, want: "64"},
		{ref: "limits.ephemeral-storage", divisor: "1Gi", pod: own, want: "100"},
		{ref: "limits.hugepages-2Mi", want: "0"},
		{ref: "requests.cpu", pod: own, want: "0"},
		{ref: "requests.memory", c: corev1.ResourceRequirements{Requests: list("memory", "1Mi")}, want: "1048576"},
	} {
		ref := &corev1.ResourceFieldSelector{Resource: tc.ref}
		if tc.divisor != "" {
			ref.Divisor = resource.MustParse(tc.divisor)
		}
		got, err := Resource(ref, &corev1.Pod{Spec: corev1.PodSpec{Resources: tc.pod}}, &corev1.Container{Resources: tc.c}, allocatable)
		if got != tc.want || err != nil {
			t.Errorf("%s of %+v in %+v: got %q, %v; want %q", tc.ref, tc.c, tc.pod, got, err, tc.want)
		}
	}
	if _, err := Resource(&corev1.ResourceFieldSelector{Resource: "cpu"}, &corev1.Pod{}, &corev1.Container{}, nil); err == nil {
		t.Error("cpu of what?")
	}
}
