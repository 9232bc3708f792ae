package apiserver_test

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver/servertest"
)

// TestTwiceInYAML: what YAML says twice clients are warned of, unless they want to hear nothing.
func TestTwiceInYAML(t *testing.T) {
	s, err := servertest.Start(t.TempDir(), servertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	for validation, want := range map[string][]string{
		metav1.FieldValidationIgnore: nil,
		metav1.FieldValidationWarn:   {`line 6: key "a" already set in map`},
	} {
		said := &heard{}
		config := *s.Config
		config.WarningHandler = said
		err := kubernetes.NewForConfigOrDie(&config).CoreV1().RESTClient().Post().AbsPath("/api/v1/namespaces/default/configmaps").
			Param("fieldValidation", validation).Param("dryRun", "All").SetHeader("Content-Type", "application/yaml").
			Body([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: b\n  a: c\n")).Do(t.Context()).Error()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(said.texts, want) {
			t.Errorf("%s: %q, want %q", validation, said.texts, want)
		}
	}
}

type heard struct{ texts []string }

func (h *heard) HandleWarningHeader(_ int, _, text string) { h.texts = append(h.texts, text) }
