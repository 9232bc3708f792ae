package pipeline_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/servertest"
)

// A jury has something against each config map.
type jury struct{}

func (jury) Examines() api.Resource { return api.ConfigMaps.Resource }

func (jury) Faults(_ context.Context, a *admission.Attributes) field.ErrorList {
	return field.ErrorList{field.Forbidden(field.NewPath("data"), string(a.Operation))}
}

// TestExaminedFirst: what the chain finds of an object and what validation does are one answer, in upstream's order.
func TestExaminedFirst(t *testing.T) {
	s, err := servertest.Start(t.TempDir(), servertest.Options{Pipeline: func(p *pipeline.Pipeline) {
		p.Admit(admission.NewChain(admission.Plugin{Examine: jury{}}))
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	fields := func(err error) (out []string) {
		t.Helper()
		status, ok := err.(apierrors.APIStatus)
		if !ok || !apierrors.IsInvalid(err) {
			t.Fatalf("got %v, want a 422", err)
		}
		for _, c := range status.Status().Details.Causes {
			out = append(out, strings.TrimSuffix(c.Field, "[a b]"))
		}
		return out
	}
	maps := kubernetes.NewForConfigOrDie(s.Config).CoreV1().ConfigMaps("default")
	bad := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a_b"}, Data: map[string]string{"a b": ""}}
	_, err = maps.Create(t.Context(), bad, metav1.CreateOptions{})
	if got, want := fields(err), []string{"data", "metadata.name", "data"}; !slices.Equal(got, want) {
		t.Errorf("create: %q, want %q", got, want)
	}
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("create of what only the chain refuses: %v", err)
	}
}
