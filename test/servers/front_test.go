package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"clipper/pki"
)

// TestLoopbackWebhook: a webhook behind the API's own service is called in the server's own name, without a kubeconfig
// or a certificate authority: here it is a path that takes no reviews, and says so to whom it may say so.
func TestLoopbackWebhook(t *testing.T) {
	c := newServer(t, "s1", "127.0.0.1").clients()
	none, path := admissionv1.SideEffectClassNone, "/api/v1/namespaces/kube-public/configmaps"
	hook := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "self"}, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: "self.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "default", Name: "kubernetes", Path: &path}},
		Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create},
			Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}}}},
	}}}
	if _, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), hook, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := c.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{})
	const want = `AdmissionReview in version "v1" cannot be handled as a ConfigMap`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %s", err, want)
	}
}

// TestServiceRanges: the smallest range that upstream takes, and two families of which IPv6 is the first.
func TestServiceRanges(t *testing.T) {
	t.Run("small", func(t *testing.T) {
		c := newServer(t, "s1", "127.0.0.1", "--service-cluster-ip-range", "10.43.0.0/29").clients()
		used := []string{clusterIPs(t, c, "default", "kubernetes")}
		if used[0] != "10.43.0.1" {
			t.Errorf("kubernetes is at %s", used[0])
		}
		for i := range 8 {
			svc, err := create(t, c, fmt.Sprintf("s%d", i), corev1.IPFamilyPolicySingleStack)
			if err != nil {
				if !strings.Contains(err.Error(), "range is full") {
					t.Error(err)
				}
				break
			}
			used = append(used, svc.Spec.ClusterIP)
		}
		slices.Sort(used)
		// The last belongs to DNS, which may not have had its turn.
		if got := strings.TrimSuffix(strings.Join(used, " "), " 10.43.0.6"); got != "10.43.0.1 10.43.0.2 10.43.0.3 10.43.0.4 10.43.0.5" {
			t.Errorf("services have %s", got)
		}
	})
	t.Run("two", func(t *testing.T) {
		c := newServer(t, "s1", "127.0.0.1", "--service-cidr", "fd00:43::/112,10.43.0.0/24", "--advertise-address", "fd00::1").clients()
		if got := clusterIPs(t, c, "default", "kubernetes"); got != "fd00:43::1" {
			t.Errorf("kubernetes is at %s", got)
		}
		endpoints, err := c.CoreV1().Endpoints("default").Get(t.Context(), "kubernetes", metav1.GetOptions{}) //nolint:staticcheck // clients still read them
		if err != nil || len(endpoints.Subsets) != 1 || endpoints.Subsets[0].Addresses[0].IP != "fd00::1" {
			t.Errorf("%v %v", endpoints, err)
		}
		ranges, err := c.NetworkingV1().ServiceCIDRs().Get(t.Context(), "kubernetes", metav1.GetOptions{})
		if err != nil || fmt.Sprint(ranges.Spec.CIDRs) != "[fd00:43::/112 10.43.0.0/24]" {
			t.Errorf("%v %v", ranges, err)
		}
		for name, policy := range map[string]corev1.IPFamilyPolicy{"one": corev1.IPFamilyPolicySingleStack, "both": corev1.IPFamilyPolicyRequireDualStack} {
			svc, err := create(t, c, name, policy)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"one": "[IPv6]", "both": "[IPv6 IPv4]"}[name]
			if got := fmt.Sprint(svc.Spec.IPFamilies); got != want || len(svc.Spec.ClusterIPs) != len(svc.Spec.IPFamilies) {
				t.Errorf("%s: families %s, addresses %v; want %s", name, got, svc.Spec.ClusterIPs, want)
			}
		}
	})
}

func create(t *testing.T, c *kubernetes.Clientset, name string, policy corev1.IPFamilyPolicy) (*corev1.Service, error) {
	return c.CoreV1().Services("default").Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
}

func clusterIPs(t *testing.T, c *kubernetes.Clientset, namespace, name string) string {
	t.Helper()
	svc, err := c.CoreV1().Services(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(svc.Spec.ClusterIPs, " ")
}

// TestAuthorityReplaced: a new --client-ca-file is believed by the running server, the old one no more, and extension
// servers are told.
func TestAuthorityReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	old, next := authority(t), authority(t)
	writeFile(t, file, old.CA.CertPEM)
	s := newServer(t, "s1", "127.0.0.1", "--client-ca-file", file)
	admin := s.config()
	as := func(keys *pki.Cluster) error {
		leaf, err := keys.CA.Issue(pki.ClientProfile("ann"))
		if err != nil {
			t.Fatal(err)
		}
		c := &rest.Config{Host: admin.Host, TLSClientConfig: rest.TLSClientConfig{CAData: admin.CAData}}
		if c.CertData, c.KeyData, err = pki.EncodePair(leaf); err != nil {
			t.Fatal(err)
		}
		_, err = kubernetes.NewForConfigOrDie(c).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		return err
	}
	if err := as(old); err != nil {
		t.Fatal(err)
	}
	if err := as(next); !apierrors.IsUnauthorized(err) {
		t.Fatalf("a stranger's certificate: %v", err)
	}
	writeFile(t, file, next.CA.CertPEM)
	for deadline := time.Now().Add(30 * time.Second); as(next) != nil; time.Sleep(20 * time.Millisecond) { // it is another process
		if time.Now().After(deadline) {
			t.Fatal("the new authority is not believed")
		}
	}
	if err := as(old); !apierrors.IsUnauthorized(err) {
		t.Errorf("the old authority: %v", err)
	}
	c := kubernetes.NewForConfigOrDie(admin)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		told, err := c.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
		if err == nil && strings.Contains(told.Data["client-ca-file"], string(next.CA.CertPEM)) && !strings.Contains(told.Data["client-ca-file"], string(old.CA.CertPEM)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("extension servers are not told: %v %v", told, err)
		}
	}
}

func authority(t *testing.T) *pki.Cluster {
	t.Helper()
	keys, err := pki.LoadOrCreate(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
