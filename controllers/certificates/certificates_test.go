package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/pki"
)

// permissions is an authorizer: user name → subresource he may create.
type permissions map[string]string

func (p permissions) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetVerb() == "create" && p[a.GetUser().GetName()] == a.GetSubresource() {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func request(t *testing.T, cn, org string, names []string, ips ...string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn, Organization: []string{org}}, DNSNames: names}
	for _, ip := range ips {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestApproveAndSign(t *testing.T) {
	const (
		client  = certificatesv1.KubeAPIServerClientKubeletSignerName
		serving = certificatesv1.KubeletServingSignerName
	)
	clientUsages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	serverUsages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
	joiner, n1 := "system:bootstrap:abcdef", "system:node:n1"
	approved := []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
	denied := []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue}}
	authority, err := pki.LoadOrCreate(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		user       string
		groups     []string
		signer     string
		usages     []certificatesv1.KeyUsage
		request    []byte
		conditions []certificatesv1.CertificateSigningRequestCondition
		signed     bool
		failed     string
	}{
		{name: "a machine joins", user: joiner, signer: client, usages: clientUsages, request: request(t, n1, "system:nodes", nil), signed: true},
		{name: "a node renews", user: n1, signer: client, usages: clientUsages, request: request(t, n1, "system:nodes", nil), signed: true},
		{name: "a node asks for another", user: n1, signer: client, usages: clientUsages, request: request(t, "system:node:n2", "system:nodes", nil)},
		{name: "a joiner asks for masters", user: joiner, signer: client, usages: clientUsages, request: request(t, n1, "system:masters", nil)},
		{name: "a stranger", user: "eve", signer: client, usages: clientUsages, request: request(t, n1, "system:nodes", nil)},
		{name: "serving, own name and address", user: n1, groups: []string{"system:nodes"}, signer: serving, usages: serverUsages,
			request: request(t, n1, "system:nodes", []string{"n1"}, "192.0.2.1"), signed: true},
		{name: "serving, another name", user: n1, groups: []string{"system:nodes"}, signer: serving, usages: serverUsages,
			request: request(t, n1, "system:nodes", []string{"kubernetes.default.svc"}, "192.0.2.1")},
		{name: "serving, a service's address", user: n1, groups: []string{"system:nodes"}, signer: serving, usages: serverUsages,
			request: request(t, n1, "system:nodes", nil, "10.96.0.1")},
		{name: "serving, another node's address", user: n1, groups: []string{"system:nodes"}, signer: serving, usages: serverUsages,
			request: request(t, n1, "system:nodes", nil, "192.0.2.2")},
		{name: "serving, not a node", user: n1, signer: serving, usages: serverUsages, request: request(t, n1, "system:nodes", []string{"n1"})},
		{name: "a person, not approved", user: "ann", signer: certificatesv1.KubeAPIServerClientSignerName, usages: clientUsages, request: request(t, "ann", "devs", nil)},
		{name: "a person, approved", user: "ann", signer: certificatesv1.KubeAPIServerClientSignerName, usages: clientUsages,
			request: request(t, "ann", "devs", nil), conditions: approved, signed: true},
		{name: "approved with wrong usages", user: "ann", signer: certificatesv1.KubeAPIServerClientSignerName, usages: serverUsages,
			request: request(t, "ann", "devs", nil), conditions: approved, failed: "invalid usages for client certificate: [digital signature server auth]"},
		{name: "denied", user: joiner, signer: client, usages: clientUsages, request: request(t, n1, "system:nodes", nil), conditions: denied},
		{name: "somebody else's signer", user: "ann", signer: "example.com/x", usages: clientUsages, request: request(t, "ann", "devs", nil), conditions: approved},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &apitest.Client{}
				c.Add(api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"},
					Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.2"}}}})
				c.Add(api.CertificateSigningRequests.Resource, &certificatesv1.CertificateSigningRequest{
					ObjectMeta: metav1.ObjectMeta{Name: "r", CreationTimestamp: metav1.Now()},
					Spec: certificatesv1.CertificateSigningRequestSpec{Username: tt.user, Groups: tt.groups, SignerName: tt.signer,
						Usages: tt.usages, Request: tt.request},
					Status: certificatesv1.CertificateSigningRequestStatus{Conditions: tt.conditions}})
				az := permissions{joiner: "nodeclient", n1: "selfnodeclient"}
				k := New(c, az, authority.CA, Reserved{Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- k.Run(ctx) }()
				synctest.Wait()
				csr, ok := api.CertificateSigningRequests.View(c).Get("", "r")
				if !ok {
					t.Fatal("the request is gone")
				}
				if signed := len(csr.Status.Certificate) > 0; signed != tt.signed {
					t.Errorf("signed: %v, want %v; %+v", signed, tt.signed, csr.Status.Conditions)
				}
				var failed string
				for _, cond := range csr.Status.Conditions {
					if cond.Type == certificatesv1.CertificateFailed {
						failed = cond.Message
					}
				}
				if failed != tt.failed {
					t.Errorf("failed: %q, want %q", failed, tt.failed)
				}
				if tt.signed {
					cert, err := pki.ParseCert(csr.Status.Certificate)
					if err != nil || cert.CheckSignatureFrom(authority.CA.Cert) != nil || cert.IsCA {
						t.Errorf("certificate: %v %v", cert, err)
					}
				}
				time.Sleep(25 * time.Hour)
				synctest.Wait()
				if _, ok := api.CertificateSigningRequests.View(c).Get("", "r"); ok && tt.signer != "example.com/x" {
					t.Error("a day later the request is still there")
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestLife(t *testing.T) {
	seconds := func(d time.Duration) *int32 { s := int32(d / time.Second); return &s }
	for _, tt := range []struct {
		asked *int32
		want  time.Duration
	}{
		{nil, longest - pki.Backdate}, {seconds(time.Hour), time.Hour}, {seconds(time.Minute), shortest},
		{seconds(24 * time.Hour), 24*time.Hour - pki.Backdate}, {seconds(2 * longest), longest - pki.Backdate},
	} {
		if got := lifeFor(tt.asked); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.asked, got, tt.want)
		}
	}
}
