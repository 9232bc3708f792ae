package owner

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

func pod(controller string, labels ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "pod", Labels: map[string]string{}}}
	for _, l := range labels {
		p.Labels[l] = l
	}
	if controller != "" {
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: controller}}
		p.OwnerReferences = []metav1.OwnerReference{*Ref(rs, api.ReplicaSets.Resource)}
	}
	return p
}

func TestEnqueueController(t *testing.T) {
	for name, c := range map[string]struct {
		old, new *corev1.Pod
		want     []string
	}{
		"new":                  {nil, pod("a"), []string{"a"}},
		"same":                 {pod("a"), pod("a"), []string{"a"}},
		"moved":                {pod("a"), pod("b"), []string{"a", "b"}},
		"gone":                 {pod("a"), nil, []string{"a"}},
		"released":             {pod("a"), pod(""), []string{"a", "orphan"}},
		"new orphan":           {nil, pod(""), []string{"orphan"}},
		"orphan of old":        {pod(""), pod(""), nil},
		"orphan of new labels": {pod("", "x"), pod("", "y"), []string{"orphan"}},
		"orphan gone":          {pod(""), nil, nil},
	} {
		var got []string
		handle := EnqueueController(api.ReplicaSets.Resource, func(k Key) { got = append(got, k.Name) }, func(api.Object) { got = append(got, "orphan") })
		e := api.Event{Type: api.Modified}
		if c.old != nil {
			e.Old = c.old
		}
		if c.new != nil {
			e.New = c.new
		}
		handle(e)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
