package apiserver_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver/servertest"
)

func client(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	s, err := servertest.Start(t.TempDir(), servertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return kubernetes.NewForConfigOrDie(s.Config)
}

// TestDaemonSetGenerationOwned: who creates a daemon set owns the annotation that counts its templates.
func TestDaemonSetGenerationOwned(t *testing.T) {
	labels := map[string]string{"a": "b"}
	created, err := client(t).AppsV1().DaemonSets("default").Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := created.Annotations[appsv1.DeprecatedTemplateGeneration]; n != "1" {
		t.Errorf("generation %q of the template, want 1", n)
	}
	owned, want := string(created.ManagedFields[0].FieldsV1.Raw), `"f:annotations":{".":{},"f:deprecated.daemonset.template.generation":{}}`
	if !strings.Contains(owned, want) {
		t.Errorf("owned: %s, want %s", owned, want)
	}
}

// TestPolicyStatusKeepsMetadata: the status of a policy changes no labels.
func TestPolicyStatusKeepsMetadata(t *testing.T) {
	c := client(t).AdmissionregistrationV1().ValidatingAdmissionPolicies()
	_, err := c.Create(t.Context(), &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "a"},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}}}},
			Validations: []admissionv1.Validation{{Expression: "true"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"labels":{"l":"1"}},"status":{"observedGeneration":1}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Labels) != 0 || got.Status.ObservedGeneration != 1 {
		t.Errorf("labels %v, observed generation %d; want none, 1", got.Labels, got.Status.ObservedGeneration)
	}
}
