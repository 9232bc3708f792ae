package join

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"clipper/api"
	"clipper/apiserver/apiservertest"
)

func TestJoin(t *testing.T) {
	s := apiservertest.Start(t)
	admin, err := kubernetes.NewForConfig(s.Admin(t))
	if err != nil {
		t.Fatal(err)
	}
	token, err := CreateToken(t.Context(), admin.CoreV1().Secrets("kube-system"), s.Keys.CA.Hash(), time.Hour, "for a test")
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Server: s.URL, Token: token.String(), NodeName: "n1", Hosts: []string{"192.0.2.1"}, Dir: filepath.Join(t.TempDir(), "node")}
	began := time.Now()
	id, err := Join(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("joined in %v", time.Since(began))
	for _, host := range []string{"n1", "192.0.2.1"} {
		opts := x509.VerifyOptions{Roots: s.Keys.CA.Pool(), DNSName: host}
		if _, err := id.Serving().Leaf.Verify(opts); err != nil {
			t.Errorf("serving certificate for %s: %v", host, err)
		}
	}
	node, err := kubernetes.NewForConfig(id.Config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("the node cannot register: %v", err)
	}
	if _, err := node.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the node lists secrets: %v", err)
	}

	// Again, without the token: nothing is asked for.
	r.Token = ""
	again, err := Join(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Serving().Leaf.Equal(id.Serving().Leaf) {
		t.Error("a second start got new certificates")
	}
	files, err := os.ReadDir(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f.Name(), info.Mode(), err)
		}
	}

	// A crash between certificate and key heals without token.
	if err := os.Rename(filepath.Join(r.Dir, "kubelet-client.key"), filepath.Join(r.Dir, "kubelet-client.key.new")); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), r); err != nil {
		t.Errorf("after a crash: %v", err)
	}
	// A new address gets a new serving certificate by way of the client certificate.
	r.Hosts = []string{"192.0.2.9"}
	moved, err := Join(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if moved.Serving().Leaf.VerifyHostname("192.0.2.9") != nil {
		t.Error("the new address is not in the certificate")
	}
}

func TestJoinRefused(t *testing.T) {
	s := apiservertest.Start(t)
	admin, err := kubernetes.NewForConfig(s.Admin(t))
	if err != nil {
		t.Fatal(err)
	}
	secrets := admin.CoreV1().Secrets("kube-system")
	token, err := CreateToken(t.Context(), secrets, s.Keys.CA.Hash(), time.Hour, "")
	if err != nil {
		t.Fatal(err)
	}
	other, wrong := token, token
	other.CAHash = s.Keys.FrontProxyCA.Hash()
	wrong.Secret = strings.Repeat("a", 16)
	for _, tt := range []struct{ name, server, token, want string }{
		{"no token", s.URL, "", "a token is needed"},
		{"half a token", s.URL, token.Bearer(), "not of the form"},
		{"another cluster's token", s.URL, other.String(), "is not the cluster that made the token"},
		{"wrong secret", s.URL, wrong.String(), "the token may have expired"},
		{"http", "http://127.0.0.1:1", token.String(), "is not an https URL"},
		{"nobody there", "127.0.0.1:1", token.String(), "reach the server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Join(t.Context(), Request{Server: tt.server, Token: tt.token, NodeName: "n1", Dir: t.TempDir()})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A server that answers with the right authority, but does not hold its key, must not be believed.
func TestImpostor(t *testing.T) {
	s := apiservertest.Start(t)
	other := apiservertest.Start(t)
	token := Token{CAHash: s.Keys.CA.Hash(), ID: "abcdef", Secret: "0123456789abcdef"}
	admin, err := kubernetes.NewForConfig(other.Admin(t))
	if err != nil {
		t.Fatal(err)
	}
	maps := admin.CoreV1().ConfigMaps("kube-public")
	info, err := maps.Get(t.Context(), "cluster-info", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	real, err := s.Client.Get(t.Context(), api.ConfigMaps.Resource, "kube-public", "cluster-info")
	if err != nil {
		t.Fatal(err)
	}
	info.Data = real.(*corev1.ConfigMap).Data
	if _, err := maps.Update(t.Context(), info, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = Join(t.Context(), Request{Server: other.URL, Token: token.String(), NodeName: "n1", Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "does not come from the cluster's authority") {
		t.Errorf("got %v", err)
	}
}

func TestTokenForm(t *testing.T) {
	token, err := NewToken(strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseToken(" " + token.String() + "\n")
	if err != nil || back != token {
		t.Errorf("%v came back as %v: %v", token, back, err)
	}
	secret := token.BootstrapSecret(time.Hour, "d", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if !bytes.Equal(secret.Data["expiration"], []byte("2026-01-01T01:00:00Z")) || secret.Name != "bootstrap-token-"+token.ID {
		t.Errorf("secret %+v", secret)
	}
}

// Certificates are renewed when 70 to 90 percent of their life have passed, not all at the same moment.
func TestRenewal(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	seen := map[time.Duration]bool{}
	for n := range 50 {
		after := renewal(&x509.Certificate{Raw: []byte{byte(n)}, NotBefore: start, NotAfter: start.Add(100 * time.Hour)}).Sub(start)
		if after < 70*time.Hour || after > 90*time.Hour {
			t.Errorf("a certificate of 100 hours is renewed after %v", after)
		}
		seen[after] = true
	}
	if len(seen) < 40 {
		t.Errorf("50 certificates are renewed at %d moments", len(seen))
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("K10" + strings.Repeat("ab", 32) + "::abcdef.0123456789abcdef")
	f.Add("K10::.")
	f.Fuzz(func(t *testing.T, in string) {
		token, err := ParseToken(in)
		if err == nil && token.String() != strings.TrimSpace(in) {
			t.Errorf("%q became %q", in, token)
		}
	})
}
