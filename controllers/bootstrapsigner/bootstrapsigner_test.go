package bootstrapsigner

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/authn"
)

// expected is the signature as whoever joins computes it: the header's very bytes matter.
func expected(content, id, secret string) string {
	enc := base64.RawURLEncoding.EncodeToString
	header := enc([]byte(`{"alg":"HS256","kid":"` + id + `"}`))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(header + "." + enc([]byte(content))))
	return header + ".." + enc(mac.Sum(nil))
}

func token(id string, change func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: authn.BootstrapTokenSecretPrefix + id}, Type: authn.BootstrapTokenType,
		Data: map[string][]byte{authn.BootstrapTokenID: []byte(id), authn.BootstrapTokenSecret: []byte("0123456789abcdef"), authn.BootstrapTokenUsageSigning: []byte("true")}}
	if change != nil {
		change(s)
	}
	return s
}

func TestSigned(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	data := map[string]string{"kubeconfig": "text", "jws-kubeconfig-gone00": "x", "other": "kept"}
	got, err := signed(data, []*corev1.Secret{
		token("good00", nil),
		token("noway0", func(s *corev1.Secret) { delete(s.Data, authn.BootstrapTokenUsageSigning) }),
		token("expird", func(s *corev1.Secret) { s.Data[authn.BootstrapTokenExpiration] = []byte("2025-12-31T00:00:00Z") }),
		token("otherd", func(s *corev1.Secret) { s.Data[authn.BootstrapTokenID] = []byte("good00") }),
		token("opaque", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }),
	}, now)
	want := map[string]string{"kubeconfig": "text", "other": "kept", "jws-kubeconfig-good00": expected("text", "good00", "0123456789abcdef")}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestFollowsTokensAndContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		c.Add(api.ConfigMaps.Resource, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-public", Name: "cluster-info"}, Data: map[string]string{"kubeconfig": "one"}})
		c.Add(api.Secrets.Resource, token("first0", nil))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c).Run(ctx) }()
		data := func() map[string]string {
			synctest.Wait()
			cm, _ := api.ConfigMaps.View(c).Get("kube-public", "cluster-info")
			return cm.Data
		}
		if got := data()["jws-kubeconfig-first0"]; got != expected("one", "first0", "0123456789abcdef") {
			t.Errorf("at the start: %q", got)
		}
		if _, err := api.Secrets.Create(ctx, c, token("second", nil)); err != nil {
			t.Fatal(err)
		}
		if err := api.Secrets.Delete(ctx, c, "kube-system", "bootstrap-token-first0", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(data())); !slices.Equal(got, []string{"jws-kubeconfig-second", "kubeconfig"}) {
			t.Errorf("after a change of tokens: %v", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
