package endpointslicemirroring

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func endpoints(subsets ...corev1.EndpointSubset) *corev1.Endpoints {
	return &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "db", UID: "u", Labels: map[string]string{"a": "b"},
		Annotations: map[string]string{"keep": "1", corev1.LastAppliedConfigAnnotation: "x"}}, Subsets: subsets}
}

func subset(port int32, ready []string, notReady ...string) corev1.EndpointSubset {
	s := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: "p", Port: port, Protocol: corev1.ProtocolTCP}}}
	for _, ip := range ready {
		s.Addresses = append(s.Addresses, corev1.EndpointAddress{IP: ip})
	}
	for _, ip := range notReady {
		s.NotReadyAddresses = append(s.NotReadyAddresses, corev1.EndpointAddress{IP: ip})
	}
	return s
}

func describe(all []*discoveryv1.EndpointSlice) string {
	out := ""
	for _, s := range all {
		out += fmt.Sprintf("%s%s %s %d:", s.Name, s.GenerateName, s.AddressType, *s.Ports[0].Port)
		for _, e := range s.Endpoints {
			out += fmt.Sprintf(" %s/%v", e.Addresses[0], *e.Conditions.Ready)
		}
		out += "; "
	}
	return out
}

func TestMirror(t *testing.T) {
	got, invalid, skipped := mirror(endpoints(
		subset(1, []string{"10.0.0.1", "fd00::1", "none"}, "10.0.0.2"),
		subset(2, []string{"10.0.0.3"}), subset(1, []string{"10.0.0.4"})))
	const want = "db- IPv4 1: 10.0.0.1/true 10.0.0.2/false 10.0.0.4/true; db- IPv6 1: fd00::1/true; db- IPv4 2: 10.0.0.3/true; "
	if describe(got) != want || invalid != 1 || skipped != 1 {
		t.Errorf("got %s, %d invalid, %d skipped", describe(got), invalid, skipped)
	}
	s := got[0]
	if s.Labels["a"] != "b" || s.Labels[discoveryv1.LabelServiceName] != "db" || s.Labels[discoveryv1.LabelManagedBy] != ManagedBy ||
		len(s.Annotations) != 1 || s.OwnerReferences[0].Kind != "Endpoints" {
		t.Errorf("metadata %+v", s.ObjectMeta)
	}
	var many []string
	for i := range 1003 {
		many = append(many, fmt.Sprintf("10.1.%d.%d", i/250, i%250))
	}
	if got, _, skipped := mirror(endpoints(subset(1, many))); len(got[0].Endpoints) != 1000 || skipped != 3 {
		t.Errorf("%d mirrored, %d skipped", len(got[0].Endpoints), skipped)
	}
}

func TestPlan(t *testing.T) {
	first, _, _ := mirror(endpoints(subset(1, []string{"10.0.0.1"}), subset(2, []string{"10.0.0.1"})))
	p := plan(nil, first)
	if len(p.create) != 2 || len(p.update)+len(p.remove) != 0 {
		t.Fatalf("from nothing: %+v", p)
	}
	for i, s := range first {
		s.Name, s.GenerateName = fmt.Sprint("s", i), ""
	}
	again, _, _ := mirror(endpoints(subset(1, []string{"10.0.0.1"}), subset(2, []string{"10.0.0.1"})))
	if p := plan(first, again); len(p.create)+len(p.update)+len(p.remove) != 0 {
		t.Errorf("nothing changed: %+v", p)
	}
	moved, _, _ := mirror(endpoints(subset(2, []string{"10.0.0.1"}), subset(3, []string{"10.0.0.9"})))
	if p := plan(first, moved); len(p.create)+len(p.remove) != 0 || describe(p.update) != "s0 IPv4 3: 10.0.0.9/true; " {
		t.Errorf("a port changed: %+v", p)
	}
	if p := plan(first, nil); len(p.remove) != 2 || len(p.create)+len(p.update) != 0 {
		t.Errorf("to nothing: %+v", p)
	}
}

func TestMirrored(t *testing.T) {
	own := &corev1.Service{}
	for name, c := range map[string]struct {
		change func(*corev1.Endpoints, *corev1.Service)
		want   bool
	}{
		"plain":    {func(*corev1.Endpoints, *corev1.Service) {}, true},
		"selector": {func(_ *corev1.Endpoints, s *corev1.Service) { s.Spec.Selector = map[string]string{"a": "b"} }, false},
		"skip":     {func(e *corev1.Endpoints, _ *corev1.Service) { e.Labels[discoveryv1.LabelSkipMirror] = "true" }, false},
		"leader":   {func(e *corev1.Endpoints, _ *corev1.Service) { e.Annotations[leaderElected] = "{}" }, false},
	} {
		e, s := endpoints(), own.DeepCopy()
		c.change(e, s)
		if got := mirrored(e, s); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
