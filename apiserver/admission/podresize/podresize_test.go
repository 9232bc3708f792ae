package podresize

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
)

func TestResize(t *testing.T) {
	c := &apitest.Client{}
	node := func(name, os string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: os}},
			Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi")}}}
	}
	c.Add(api.Nodes.Resource, node("linux", "linux"), node("windows", "windows"))
	for _, tt := range []struct {
		node, cpu, memory string
		generation        int64
		err               string
		cause             metav1.CauseType
	}{
		{"linux", "2", "1Gi", 2, "", ""},
		{"linux", "2001m", "1Gi", 2, "node didn't have enough allocatable resources: cpu, requested: 2001, allocatable: 2000", NodeCapacity},
		{"linux", "3", "2Gi", 2, "node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824", NodeCapacity},
		{"linux", "3", "2Gi", 1, "", ""}, // the spec has not changed
		{"windows", "1", "1Mi", 2, `pod resize is only supported on linux nodes, node "windows" is "windows"`, UnsupportedPlatform},
		{"gone", "1", "1Mi", 2, `node "gone" not found`, ""},
		{"", "99", "1Mi", 2, "", ""},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: tt.generation}, Spec: corev1.PodSpec{NodeName: tt.node, Containers: []corev1.Container{{
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(tt.cpu), "memory": resource.MustParse(tt.memory)}}}}}}
		old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 1}, Spec: corev1.PodSpec{NodeName: tt.node}}
		err := New(c).Validate(t.Context(), &admission.Attributes{Operation: admission.Update, Resource: api.Pods.Resource, Subresource: "resize", Name: "p", Object: pod, Old: old})
		if tt.err == "" {
			if err != nil {
				t.Errorf("%+v: %v", tt, err)
			}
			continue
		}
		if want := `pods "p" is forbidden: ` + tt.err; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		var status *apierrors.StatusError
		if tt.cause != "" && (!errors.As(err, &status) || len(status.ErrStatus.Details.Causes) != 1 || status.ErrStatus.Details.Causes[0].Type != tt.cause) {
			t.Errorf("causes of %v", err)
		}
	}
}
