package fit

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestFeatures(t *testing.T) {
	plain, needy := &corev1.Pod{}, &corev1.Pod{}
	needy.Spec.Containers = []corev1.Container{{RestartPolicyRules: []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers}}}}
	const feature = "RestartAllContainersOnContainerExits"
	if got := requiredFeatures(plain); got != nil {
		t.Errorf("a plain pod needs %v", got)
	}
	if got := requiredFeatures(needy); !slices.Equal(got, []string{feature}) {
		t.Errorf("a pod whose containers restart together needs %v", got)
	}
	old, able := &corev1.Node{}, &corev1.Node{}
	able.Status.DeclaredFeatures = []string{"A", feature, "Z"}
	for _, tt := range []struct {
		node *corev1.Node
		pod  *corev1.Pod
		want bool
	}{{old, plain, true}, {old, needy, false}, {able, needy, true}} {
		if got := declares(tt.node, requiredFeatures(tt.pod)); got != tt.want {
			t.Errorf("node with %v, pod needs %v: %v", tt.node.Status.DeclaredFeatures, requiredFeatures(tt.pod), got)
		}
	}
}
