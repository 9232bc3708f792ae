package topologylabels

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
)

func TestLabels(t *testing.T) {
	c := &apitest.Client{}
	zone, region := corev1.LabelTopologyZone, corev1.LabelTopologyRegion
	c.Add(api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{zone: "a", region: "eu", "other": "x"}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "bare"}})
	pod := func(node string, labels map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{NodeName: node}}
	}
	binding := func(kind string) *corev1.Binding {
		return &corev1.Binding{Target: corev1.ObjectReference{Kind: kind, Name: "n"}}
	}
	there := map[string]string{zone: "a", region: "eu"}
	for _, tt := range []struct {
		name string
		op   admission.Operation
		sub  string
		obj  api.Object
		want map[string]string
	}{
		{"binding", admission.Create, "binding", binding("Node"), there},
		{"binding to something else", admission.Create, "binding", binding("Host"), nil},
		{"pod on a node", admission.Create, "", pod("n", map[string]string{zone: "b", "app": "web"}), map[string]string{zone: "a", region: "eu", "app": "web"}},
		{"pod on a node without labels", admission.Create, "", pod("bare", nil), nil},
		{"pod on a node that is gone", admission.Create, "", pod("gone", nil), nil},
		{"pod without a node", admission.Create, "", pod("", nil), nil},
		{"update", admission.Update, "", pod("n", nil), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := New(c).Admit(t.Context(), &admission.Attributes{Operation: tt.op, Resource: api.Pods.Resource, Subresource: tt.sub, Object: tt.obj}); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(tt.obj.GetLabels(), tt.want) {
				t.Errorf("labels %v, want %v", tt.obj.GetLabels(), tt.want)
			}
		})
	}
}
