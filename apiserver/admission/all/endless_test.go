package all_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/apiserver/apiservertest"
)

// endless is a webhook whose answer does not end.
func endless(t *testing.T) *reviewer {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for block := []byte(strings.Repeat(" ", 64<<10)); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return &reviewer{client: admissionregistrationv1.WebhookClientConfig{URL: &s.URL,
		CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})}}
}

// TestEndlessAnswers: a webhook whose answer does not end has failed, and its policy says what comes of it.
func TestEndlessAnswers(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	create := func() error {
		_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a"}}, metav1.CreateOptions{})
		return err
	}
	rules := rulesOf("v1", "CREATE", "", "configmaps")
	mutatingHook(t, c, "ignored", endless(t), rules, func(h *admissionregistrationv1.MutatingWebhook) {
		policy := admissionregistrationv1.Ignore
		h.FailurePolicy = &policy
	})
	if err := create(); err != nil {
		t.Errorf("a failure that is ignored: %v", err)
	}
	validatingHook(t, c, "needed", endless(t), rules, nil)
	err := create()
	if err == nil || !strings.Contains(err.Error(), `failed calling webhook "needed.example.com"`) || !strings.Contains(err.Error(), "the answer is longer than") {
		t.Errorf("a failure that is not ignored: %v", err)
	}
}
