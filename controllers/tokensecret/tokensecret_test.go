package tokensecret

import (
	"context"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
)

type fakeSigner struct{}

func (fakeSigner) SignLegacy(sa *corev1.ServiceAccount, secret string) (string, error) {
	return "token of " + sa.Name + " in " + secret, nil
}

func TestFilledAndRemovedWithItsAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		c.Add(api.ServiceAccounts.Resource, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "robot", UID: "1"}})
		secret := func(name, account, uid string) *corev1.Secret {
			s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}},
				Type: corev1.SecretTypeServiceAccountToken}
			if uid != "" {
				s.Annotations[corev1.ServiceAccountUIDKey] = uid
			}
			return s
		}
		c.Add(api.Secrets.Resource, secret("good", "robot", ""), secret("stale", "robot", "0"), secret("orphan", "ghost", ""),
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "opaque"}, Type: corev1.SecretTypeOpaque})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c, fakeSigner{}, []byte("CA")).Run(ctx) }()
		synctest.Wait()
		got, ok := api.Secrets.View(c).Get("a", "good")
		if !ok || string(got.Data["token"]) != "token of robot in good" || string(got.Data["ca.crt"]) != "CA" ||
			string(got.Data["namespace"]) != "a" || got.Annotations[corev1.ServiceAccountUIDKey] != "1" {
			t.Errorf("secret: %+v", got)
		}
		for _, name := range []string{"stale", "orphan"} {
			if _, ok := api.Secrets.View(c).Get("a", name); ok {
				t.Errorf("%s is still there", name)
			}
		}
		if err := api.ServiceAccounts.Delete(ctx, c, "a", "robot", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if left := api.Secrets.View(c).List("a"); len(left) != 1 || left[0].Name != "opaque" {
			t.Errorf("left: %v", left)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
