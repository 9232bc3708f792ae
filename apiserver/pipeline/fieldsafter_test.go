package pipeline_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"clipper/apiserver/admission"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/servertest"
)

// A breaker leaves an object with managedFields that say nothing of what is owned, as old webhooks do.
type breaker struct{}

func (breaker) Admit(_ context.Context, a *admission.Attributes) error {
	if a.Object == nil || len(a.Object.GetManagedFields()) == 0 {
		return nil
	}
	broken := []metav1.ManagedFieldsEntry{{Manager: "broken", Operation: metav1.ManagedFieldsOperationUpdate}}
	a.Object.SetManagedFields(broken)
	return nil
}

type warnings struct {
	sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.Lock()
	defer w.Unlock()
	w.texts = append(w.texts, text)
}

// TestBrokenFields: managedFields that admission breaks stay as they were, and the client hears of it.
func TestBrokenFields(t *testing.T) {
	s, err := servertest.Start(t.TempDir(), servertest.Options{Pipeline: func(p *pipeline.Pipeline) {
		p.Admit(admission.NewChain(admission.Plugin{Mutate: breaker{}}))
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	heard, config := &warnings{}, rest.CopyConfig(s.Config)
	config.WarningHandler = heard
	maps := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps("default")
	created, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	patched, err := maps.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"data":{"l":"w"}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []*corev1.ConfigMap{created, patched} {
		if len(o.ManagedFields) != 1 || o.ManagedFields[0].Manager == "broken" || o.ManagedFields[0].FieldsV1 == nil {
			t.Errorf("managedFields %v", o.ManagedFields)
		}
	}
	if len(heard.texts) != 2 || !strings.HasPrefix(heard.texts[0], ".metadata.managedFields was in an invalid state after admission; ") {
		t.Errorf("warnings %q, want one for each write", heard.texts)
	}
}
