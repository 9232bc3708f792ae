package join

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"clipper/apiserver/authn"
)

// TestServerKeys: what a server shares reaches the token's bearer whole, and nobody else.
func TestServerKeys(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "pki")
	want := map[string]string{"ca.crt": "authority", "ca.key": "its key", "sa.key": "token key", "encryption.yaml": "how"}
	for name, text := range want {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(from, "apiserver.key"), []byte("this server's alone"), 0o600); err != nil {
		t.Fatal(err)
	}
	clients := fake.NewClientset()
	token, err := CreateServerToken(context.Background(), clients, from, strings.Repeat("ab", 32), 0, "test")
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseToken(token.String())
	if err != nil || back != token {
		t.Fatalf("the token reads as %+v: %v", back, err)
	}
	secret, err := clients.CoreV1().Secrets("kube-system").Get(context.Background(), authn.BootstrapTokenSecretPrefix+token.ID, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range secret.Data {
		if strings.Contains(string(value), "its key") || strings.Contains(string(value), token.Key) {
			t.Error("a key lies open in the secret")
		}
	}
	role, err := clients.RbacV1().Roles("kube-system").Get(context.Background(), "clipper:join-server:"+token.ID, metav1.GetOptions{})
	if err != nil || len(role.Rules) != 1 || role.Rules[0].ResourceNames[0] != secret.Name || role.OwnerReferences[0].Name != secret.Name {
		t.Errorf("the role is %+v: %v", role, err)
	}
	files, err := token.open(secret.Data[keysField])
	if err != nil || len(files) != len(want) {
		t.Fatalf("the secret holds %d files: %v", len(files), err)
	}
	other := token
	other.Key = strings.Repeat("00", sealBytes)
	if _, err := other.open(secret.Data[keysField]); err == nil {
		t.Error("another key opens the secret")
	}
	if err := writeShared(to, files); err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || string(got) != text {
			t.Errorf("%s is %q: %v", name, got, err)
		}
	}
	if err := writeShared(to, files); err == nil {
		t.Error("a directory with keys was overwritten")
	}
}
