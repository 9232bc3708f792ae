package admission_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/admission"
)

// A named plug-in notes its turns, asks for another round if it is told to, and may refuse.
type plugin struct {
	name  string
	turns *[]string
	again bool
	err   error
}

func (p plugin) Admit(_ context.Context, a *admission.Attributes) error {
	*p.turns = append(*p.turns, "admit "+p.name)
	if p.again {
		a.Record().GetReinvocationContext().SetShouldReinvoke()
	}
	return p.err
}

func (p plugin) Validate(context.Context, *admission.Attributes) error {
	*p.turns = append(*p.turns, "validate "+p.name)
	return p.err
}

func TestChain(t *testing.T) {
	refused := errors.New("no")
	for _, tt := range []struct {
		name    string
		plugins []plugin
		turns   string
		err     error
	}{
		{"in order", []plugin{{name: "a"}, {name: "b"}}, "admit a, admit b, validate a, validate b", nil},
		{"once more", []plugin{{name: "a"}, {name: "b", again: true}}, "admit a, admit b, admit a, admit b, validate a, validate b", nil},
		{"strategies come once and last", []plugin{{name: ""}, {name: "a", again: true}}, "admit a, admit a, admit , validate , validate a", nil},
		{"refusal", []plugin{{name: "a", err: refused}, {name: "b"}}, "admit a", refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var turns []string
			var plugins []admission.Plugin
			for _, p := range tt.plugins {
				p.turns = &turns
				plugins = append(plugins, admission.Plugin{Name: p.name, Mutate: p, Validate: p})
			}
			c := admission.NewChain(plugins...)
			a := &admission.Attributes{Operation: admission.Create, Resource: api.ConfigMaps.Resource, Namespace: "ns", Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}}
			err := c.Admit(t.Context(), a)
			if err == nil {
				err = c.Validate(t.Context(), a)
			}
			if got := strings.Join(turns, ", "); got != tt.turns || !errors.Is(err, tt.err) {
				t.Errorf("turns %q, error %v; want %q, %v", got, err, tt.turns, tt.err)
			}
			measured(t, c, tt.err != nil)
		})
	}
}

// measured checks that the plug-in a was counted.
func measured(t *testing.T, c *admission.Chain, rejected bool) {
	t.Helper()
	r := prometheus.NewRegistry()
	if err := r.Register(c.Collector()); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "apiserver_admission_controller_admission_duration_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["name"] == "" {
				t.Error("a strategy was measured")
			}
			if labels["name"] == "a" && labels["type"] == "admit" && labels["operation"] == "CREATE" && (labels["rejected"] == "true") == rejected {
				return
			}
		}
	}
	t.Error("the plug-in a was not measured")
}

// TestRecord: the write as upstream's libraries see it.
func TestRecord(t *testing.T) {
	object := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	a := &admission.Attributes{Operation: admission.Create, Resource: api.Namespaces.Resource, Object: object}
	if r := a.Record(); r.GetNamespace() != "n" || r.GetName() != "n" || r.GetKind() != api.Namespaces.GVK() || !object.GroupVersionKind().Empty() || r.GetOldObject() != nil {
		t.Errorf("%+v", r)
	}
	a = &admission.Attributes{Operation: admission.Create, Resource: api.Pods.Resource, Subresource: "binding", Namespace: "ns", Name: "p", Object: &corev1.Binding{}}
	if r := a.Record(); r.GetKind().Kind != "Binding" || r.GetResource() != api.Pods.GVR() || r.GetSubresource() != "binding" {
		t.Errorf("%+v", r)
	}
	a = &admission.Attributes{Operation: admission.Delete, Resource: api.Pods.Resource, Namespace: "ns", Name: "p", Old: &corev1.Pod{}}
	if r := a.Record(); r.GetObject() != nil || r.GetOldObject() == nil || r.GetKind() != api.Pods.GVK() {
		t.Errorf("%+v", r)
	}
}

type idle struct{}

func (idle) Admit(context.Context, *admission.Attributes) error    { return nil }
func (idle) Validate(context.Context, *admission.Attributes) error { return nil }

// BenchmarkChain is what running and measuring as many plug-ins as a server has adds to a write.
func BenchmarkChain(b *testing.B) {
	var plugins []admission.Plugin
	for i := range 16 {
		plugins = append(plugins, admission.Plugin{Name: string(rune('a' + i)), Mutate: idle{}, Validate: idle{}})
	}
	c := admission.NewChain(plugins...)
	a := &admission.Attributes{Operation: admission.Create, Resource: api.ConfigMaps.Resource}
	b.ReportAllocs()
	for b.Loop() {
		if c.Admit(b.Context(), a) != nil || c.Validate(b.Context(), a) != nil {
			b.Fatal("refused")
		}
	}
}
