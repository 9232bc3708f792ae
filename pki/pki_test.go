package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

func TestLoadOrCreateIsIdempotent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	first, err := LoadOrCreate(dir, Options{Hosts: []string{"10.96.0.1", "box.example"}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := LoadOrCreate(dir, Options{Hosts: []string{"10.96.0.1", "box.example"}})
	if err != nil {
		t.Fatal(err)
	}
	if first.CA.Hash() != second.CA.Hash() || !first.Serving.Leaf.Equal(second.Serving.Leaf) ||
		!first.ServiceAccountKey.(*ecdsa.PrivateKey).Equal(second.ServiceAccountKey) || !first.Admin.Leaf.Equal(second.Admin.Leaf) {
		t.Error("a second load made new material")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", e.Name(), info.Mode().Perm())
		}
	}
}

func TestServingNames(t *testing.T) {
	c, err := LoadOrCreate(t.TempDir(), Options{Hosts: []string{"10.96.0.1", "box.example"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1", "::1", "10.96.0.1", "box.example"} {
		_, err := c.Serving.Leaf.Verify(x509.VerifyOptions{Roots: c.CA.Pool(), DNSName: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if life := c.CA.Cert.NotAfter.Sub(c.CA.Cert.NotBefore); life < authorityLife {
		t.Errorf("the authority lives %v", life)
	}
}

func TestNewHostReissuesServingOnly(t *testing.T) {
	dir := t.TempDir()
	a, err := LoadOrCreate(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := LoadOrCreate(dir, Options{Hosts: []string{"192.0.2.7"}})
	if err != nil {
		t.Fatal(err)
	}
	if a.Serving.Leaf.Equal(b.Serving.Leaf) {
		t.Error("serving certificate was not issued again for a new address")
	}
	if a.CA.Hash() != b.CA.Hash() || !a.Admin.Leaf.Equal(b.Admin.Leaf) {
		t.Error("more than the serving certificate changed")
	}
}

// Every state that a crash between two writes, or a torn unsynced leaf, can leave behind must heal.
func TestHealsAfterCrash(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(dir string) error
		sameCA bool
	}{
		{"leaf certificate missing", func(d string) error { return os.Remove(filepath.Join(d, "admin.crt")) }, true},
		{"leaf key torn", func(d string) error { return os.Truncate(filepath.Join(d, "apiserver.key"), 0) }, true},
		{"authority certificate not yet written", func(d string) error { return os.Remove(filepath.Join(d, "ca.crt")) }, false},
		{"all but the authority's key missing", func(d string) error {
			for _, f := range []string{"ca.crt", "sa.key", "apiserver.crt", "front-proxy-ca.crt"} {
				if err := os.Remove(filepath.Join(d, f)); err != nil {
					return err
				}
			}
			return nil
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			before, err := LoadOrCreate(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.damage(dir); err != nil {
				t.Fatal(err)
			}
			after, err := LoadOrCreate(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if same := before.CA.Hash() == after.CA.Hash(); same != tt.sameCA {
				t.Errorf("same authority: %v, want %v", same, tt.sameCA)
			}
			if _, err := after.Admin.Leaf.Verify(x509.VerifyOptions{Roots: after.CA.Pool(),
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLostAuthorityKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadOrCreate(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreate(dir, Options{}); err == nil {
		t.Error("a certificate without key was replaced: every node would be cut off")
	}
}

// TestKubeadm: a directory that kubeadm has made, whose keys are RSA, is taken over.
func TestKubeadm(t *testing.T) {
	dir := t.TempDir()
	keep := map[string][]byte{}
	for _, base := range []string{"ca", "front-proxy-ca", "sa"} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		keep[base+".key"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
		if base != "sa" {
			a, err := selfSign("kubernetes", key)
			if err != nil {
				t.Fatal(err)
			}
			keep[base+".crt"] = a.CertPEM
		}
	}
	for name, data := range keep {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := LoadOrCreate(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.ServiceAccountKey.(*rsa.PrivateKey); !ok {
		t.Errorf("tokens are signed with a %T", c.ServiceAccountKey)
	}
	if _, err := c.Admin.Leaf.Verify(x509.VerifyOptions{Roots: c.CA.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	for name, want := range keep {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != string(want) {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseAuthority("ca.crt", keep["ca.crt"], other); err == nil {
		t.Error("a key that is not the certificate's was taken")
	}
}

func TestSignRequest(t *testing.T) {
	c, err := LoadOrCreate(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := c.CA.SignRequest(req, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if cert.Subject.CommonName != "system:node:n1" || time.Until(cert.NotAfter) > time.Hour {
		t.Errorf("signed %v until %v", cert.Subject, cert.NotAfter)
	}
	req.Signature[8] ^= 1
	if _, err := c.CA.SignRequest(req, 0, nil, time.Hour); err == nil {
		t.Error("a request with a broken signature was signed")
	}
}

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir()
	c, err := LoadOrCreate(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kc", "admin.kubeconfig")
	if err := c.WriteKubeconfig(path, "clipper", "https://127.0.0.1:6443"); err != nil {
		t.Fatal(err)
	}
	rest, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if rest.Host != "https://127.0.0.1:6443" || len(rest.CertData) == 0 || len(rest.CAData) == 0 {
		t.Errorf("kubeconfig gives %+v", rest)
	}
}

func BenchmarkCreate(b *testing.B) {
	for b.Loop() {
		if _, err := LoadOrCreate(b.TempDir(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
