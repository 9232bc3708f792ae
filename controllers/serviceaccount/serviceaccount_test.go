package serviceaccount

import (
	"context"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
)

func TestEveryNamespaceHasAnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		now := metav1.Now()
		c.Add(api.Namespaces.Resource,
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}},
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "dying", DeletionTimestamp: &now}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c).Run(ctx) }()
		has := func(ns string) bool {
			synctest.Wait()
			_, ok := api.ServiceAccounts.View(c).Get(ns, "default")
			return ok
		}
		if !has("a") || has("dying") {
			t.Errorf("a: %v, dying: %v", has("a"), has("dying"))
		}
		if err := api.ServiceAccounts.Delete(ctx, c, "a", "default", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if !has("a") {
			t.Error("a deleted account was not made again")
		}
		c.Add(api.Namespaces.Resource, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "b"}})
		if !has("b") {
			t.Error("a new namespace has no account")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
