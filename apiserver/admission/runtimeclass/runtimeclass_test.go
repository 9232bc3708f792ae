package runtimeclass

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
)

// TestOverhead: what a webhook does to a pod's overhead after its class has set it is noticed.
func TestOverhead(t *testing.T) {
	c := &apitest.Client{}
	cpu := func(n string) corev1.ResourceList { return corev1.ResourceList{"cpu": resource.MustParse(n)} }
	c.Add(api.RuntimeClasses.Resource, &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "vm"}, Overhead: &nodev1.Overhead{PodFixed: cpu("1")}},
		&nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "light"}})
	for _, tt := range []struct {
		class  string
		change func(*corev1.Pod)
		err    string
	}{
		{"vm", func(*corev1.Pod) {}, ""},
		{"vm", func(p *corev1.Pod) { p.Spec.Overhead = nil }, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"},
		{"vm", func(p *corev1.Pod) { p.Spec.Overhead = cpu("2") }, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"},
		{"light", func(*corev1.Pod) {}, ""},
		{"light", func(p *corev1.Pod) { p.Spec.Overhead = cpu("1") }, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"},
		{"light", func(p *corev1.Pod) { n := "gone"; p.Spec.RuntimeClassName = &n }, `pod rejected: RuntimeClass "gone" not found`},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{RuntimeClassName: &tt.class}}
		a := &admission.Attributes{Operation: admission.Create, Resource: api.Pods.Resource, Name: "p", Object: pod}
		if err := New(c).Admit(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		tt.change(pod)
		err := New(c).Validate(t.Context(), a)
		if (err == nil) != (tt.err == "") || err != nil && err.Error() != `pods "p" is forbidden: `+tt.err {
			t.Errorf("%s: got %v, want %q", tt.class, err, tt.err)
		}
	}
}
