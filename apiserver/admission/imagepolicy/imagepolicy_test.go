package imagepolicy

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"clipper/api"
	"clipper/apiserver/admission"
)

// hook is a server that likes images without "bad" in their names, and counts how often it is asked.
type hook struct{ asked atomic.Int32 }

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.asked.Add(1)
	var review imagepolicyv1alpha1.ImageReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Kind != "ImageReview" {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	review.Status.Allowed = true
	for _, c := range review.Spec.Containers {
		switch {
		case strings.Contains(c.Image, "broken"):
			http.Error(w, "out of order", http.StatusTeapot)
			return
		case strings.Contains(c.Image, "bad"):
			review.Status = imagepolicyv1alpha1.ImageReviewStatus{Reason: c.Image + " in " + review.Spec.Namespace + review.Spec.Annotations["ticket.image-policy.k8s.io/n"]}
		case strings.Contains(c.Image, "silent"):
			review.Status.Allowed = false
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

func start(t *testing.T, h http.Handler, more string) *Plugin {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: s.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := New(fmt.Appendf(nil, `{"imagePolicy":{"kubeConfigFile":%q,"retryBackoff":1%s}}`, file, more))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(sub string, images ...string) *admission.Attributes {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{"ticket.image-policy.k8s.io/n": ", ticket 1", "other": "x"}}}
	for _, image := range images {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Image: image})
	}
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Image: "bad-debugger"}}}
	return &admission.Attributes{Operation: admission.Create, Resource: api.Pods.Resource, Subresource: sub, Namespace: "ns", Name: "p", Object: pod}
}

func TestImages(t *testing.T) {
	h := &hook{}
	p := start(t, h, "")
	for _, tt := range []struct {
		name string
		a    *admission.Attributes
		err  string
	}{
		{"good", write("", "a", "b"), ""},
		{"one is bad", write("", "a", "bad"), `pods "p" is forbidden: image policy webhook backend denied one or more images: bad in ns, ticket 1`},
		{"without a word", write("", "silent"), `pods "p" is forbidden: one or more images rejected by webhook backend`},
		{"a debugger", write("ephemeralcontainers", "a"), `pods "p" is forbidden: image policy webhook backend denied one or more images: bad-debugger in ns, ticket 1`},
		{"a status", write("status", "bad"), ""},
		{"no answer", write("", "broken"), `pods "p" is forbidden: the server responded with the status code 418 but did not return more information`},
	} {
		err := p.Validate(t.Context(), tt.a)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
	}
	asked := h.asked.Load()
	for range 3 {
		if p.Validate(t.Context(), write("", "a", "bad")) == nil {
			t.Error("what was refused once is taken")
		}
	}
	if h.asked.Load() != asked {
		t.Error("what the server has said is not remembered")
	}
}

// TestFailingOpen: the audit event tells that nobody was asked.
func TestFailingOpen(t *testing.T) {
	p := start(t, &hook{}, `,"defaultAllow":true`)
	if err := p.Validate(t.Context(), write("", "broken")); err != nil {
		t.Error(err)
	}
}
