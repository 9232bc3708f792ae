package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	certificatesv1 "k8s.io/api/certificates/v1"

	"clipper/api"
)

// TestCount: a certificate counts when it is issued, if its life was asked for; and twice if it got it.
func TestCount(t *testing.T) {
	issued := func(life time.Duration) []byte { return issue(t, life) }
	hour := int32(3600)
	for _, tt := range []struct {
		name                   string
		signer                 string
		wanted                 *int32
		before, after          []byte
		label                  string
		wantAsked, wantHonored float64
	}{
		{"for an hour", "kubernetes.io/kube-apiserver-client", &hour, nil, issued(time.Hour), "kubernetes.io/kube-apiserver-client", 1, 1},
		{"for longer", "kubernetes.io/kubelet-serving", &hour, nil, issued(2 * time.Hour), "kubernetes.io/kubelet-serving", 1, 0},
		{"somebody's signer", "example.com/x", &hour, nil, issued(time.Hour + 4*time.Minute), "other", 1, 1},
		{"nothing asked", "kubernetes.io/none", nil, nil, issued(time.Hour), "kubernetes.io/none", 0, 0},
		{"issued before", "kubernetes.io/before", &hour, issued(time.Hour), issued(time.Hour), "kubernetes.io/before", 0, 0},
		{"not issued", "kubernetes.io/not", &hour, nil, nil, "kubernetes.io/not", 0, 0},
		{"no certificate", "kubernetes.io/odd", &hour, nil, []byte("certificate"), "kubernetes.io/odd", 1, 0},
	} {
		request := func(certificate []byte) *certificatesv1.CertificateSigningRequest {
			return &certificatesv1.CertificateSigningRequest{
				Spec:   certificatesv1.CertificateSigningRequestSpec{SignerName: tt.signer, ExpirationSeconds: tt.wanted},
				Status: certificatesv1.CertificateSigningRequestStatus{Certificate: certificate},
			}
		}
		count(api.Event{Type: api.Added, New: request(tt.after)}) // what was there when we came counts no more
		count(api.Event{Type: api.Modified, Old: request(tt.before), New: request(tt.after)})
		if a, h := testutil.ToFloat64(asked.WithLabelValues(tt.label)), testutil.ToFloat64(honored.WithLabelValues(tt.label)); a != tt.wantAsked || h != tt.wantHonored {
			t.Errorf("%s: asked %v, honored %v", tt.name, a, h)
		}
	}
}

// issue returns a certificate for so long, in PEM.
func issue(t *testing.T, life time.Duration) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
