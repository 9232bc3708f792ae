package priority

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/manifests"
)

func pod(name string, priority int32) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Spec.Priority = name, &priority
	return p
}

func TestOver(t *testing.T) {
	low, high := pod("low", 1), pod("high", 2)
	static, critical := pod("static", 0), pod("critical", SystemCritical)
	static.Annotations = map[string]string{manifests.SourceAnnotation: manifests.FileSource}
	for _, tc := range []struct {
		a, b *corev1.Pod
		want bool
	}{{high, low, true}, {low, high, false}, {low, low, false}, {static, high, true}, {critical, static, true}, {static, critical, false}} {
		if got := Over(tc.a, tc.b); got != tc.want {
			t.Errorf("%s over %s: %v", tc.a.Name, tc.b.Name, got)
		}
	}
}
