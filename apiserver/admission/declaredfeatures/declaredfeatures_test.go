package declaredfeatures

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
)

// TestPodLevelResize: resources of the pod as a whole can only change on a node that says it can do that.
func TestPodLevelResize(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "old"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "new"}, Status: corev1.NodeStatus{DeclaredFeatures: []string{"InPlacePodLevelResourcesVerticalScaling"}}})
	pod := func(node, cpu string, generation int64) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: generation}, Spec: corev1.PodSpec{NodeName: node,
			Resources: &corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu)}}}}
	}
	for _, tt := range []struct{ node, cpu, err string }{
		{"new", "2", ""},
		{"old", "1", ""},
		{"old", "2", `pods "p" is forbidden: pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node "old"`},
		{"gone", "2", `pods "p" is forbidden: node "gone" not found`},
	} {
		err := New(c).Validate(t.Context(), &admission.Attributes{Operation: admission.Update, Resource: api.Pods.Resource, Subresource: "resize", Name: "p",
			Object: pod(tt.node, tt.cpu, 2), Old: pod(tt.node, "1", 1)})
		if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%s to %s: got %v, want %q", tt.node, tt.cpu, err, tt.err)
		}
	}
}
