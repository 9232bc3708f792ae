package rootca

import (
	"context"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
)

func TestPublishedAndRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		c.Add(api.Namespaces.Resource, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c, []byte("CA")).Run(ctx) }()
		right := func() bool {
			synctest.Wait()
			cm, ok := api.ConfigMaps.View(c).Get("a", Name)
			return ok && len(cm.Data) == 1 && cm.Data["ca.crt"] == "CA" && cm.Annotations[descriptionKey] == Description
		}
		if !right() {
			t.Error("not published")
		}
		cm, _ := api.ConfigMaps.View(c).Get("a", Name)
		bad := cm.DeepCopy()
		bad.Data = map[string]string{"ca.crt": "EVIL", "x": "y"}
		if _, err := api.ConfigMaps.Update(ctx, c, bad); err != nil {
			t.Fatal(err)
		}
		if !right() {
			t.Error("a change was not undone")
		}
		if err := api.ConfigMaps.Delete(ctx, c, "a", Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if !right() {
			t.Error("not made again after its deletion")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
