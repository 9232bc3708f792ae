package containers

import (
	"iter"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestOrder(t *testing.T) {
	one := func(name string) corev1.Container { return corev1.Container{Name: name} }
	spec := &corev1.PodSpec{
		Containers: []corev1.Container{one("c"), one("d")}, InitContainers: []corev1.Container{one("a"), one("b")},
		EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e"}}},
	}
	names := func(seq iter.Seq[*corev1.Container], most int) (out []string) {
		for c := range seq {
			if out = append(out, c.Name); len(out) == most {
				break
			}
		}
		return out
	}
	all := []string{"a", "b", "c", "d", "e"}
	for n := 1; n <= len(all); n++ { // whoever stops early is not called again
		if got := names(All(spec), n); !slices.Equal(got, all[:n]) {
			t.Errorf("%d of all: %v", n, got)
		}
		if got := names(Of(spec), n); !slices.Equal(got, all[:min(n, 4)]) {
			t.Errorf("%d of those that start: %v", n, got)
		}
	}
	for _, name := range all {
		if c := Named(spec, name); c == nil || c.Name != name {
			t.Errorf("%s is not found", name)
		}
	}
	if c := Named(spec, "none"); c != nil {
		t.Errorf("found %s", c.Name)
	}
	if Named(spec, "d") != &spec.Containers[1] {
		t.Error("a copy")
	}
}

func TestStatuses(t *testing.T) {
	s := &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c"}}, InitContainerStatuses: []corev1.ContainerStatus{{Name: "a"}},
		EphemeralContainerStatuses: []corev1.ContainerStatus{{Name: "e"}}}
	var got []string
	for st := range Statuses(s) {
		got = append(got, st.Name)
	}
	if !slices.Equal(got, []string{"a", "c", "e"}) {
		t.Errorf("%v", got)
	}
	for range Statuses(s) {
		break
	}
}
