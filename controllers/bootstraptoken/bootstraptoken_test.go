package bootstraptoken

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/authn"
)

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		secret := func(name string, in time.Duration) *corev1.Secret {
			s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name}, Type: authn.BootstrapTokenType, Data: map[string][]byte{}}
			if in != 0 {
				s.Data["expiration"] = []byte(time.Now().Add(in).UTC().Format(time.RFC3339))
			}
			return s
		}
		c.Add(api.Secrets.Resource, secret("forever", 0), secret("hour", time.Hour), secret("past", -time.Minute))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c).Run(ctx) }()
		there := func(name string) bool {
			synctest.Wait()
			_, ok := api.Secrets.View(c).Get("kube-system", name)
			return ok
		}
		if there("past") || !there("hour") || !there("forever") {
			t.Error("at the start")
		}
		time.Sleep(59 * time.Minute)
		if !there("hour") {
			t.Error("gone before its time")
		}
		time.Sleep(2 * time.Minute)
		if there("hour") || !there("forever") {
			t.Error("after an hour")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
