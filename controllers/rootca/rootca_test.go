package rootca

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
		before := testutil.ToFloat64(syncs.WithLabelValues("200"))
		if !right() {
			t.Error("not published")
		}
		if n := testutil.ToFloat64(syncs.WithLabelValues("200")) - before; n < 1 {
			t.Errorf("%v namespaces counted", n)
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

// TestSynced: failures are counted by what the API said.
func TestSynced(t *testing.T) {
	for code, err := range map[string]error{
		"500": errors.New("the log is full"),
		"409": fmt.Errorf("update: %w", apierrors.NewConflict(api.ConfigMaps.GroupResource(), Name, errors.New("it has changed"))),
	} {
		before := testutil.ToFloat64(syncs.WithLabelValues(code))
		synced(err, time.Second)
		if n := testutil.ToFloat64(syncs.WithLabelValues(code)) - before; n != 1 {
			t.Errorf("%v: counted %v times as %s", err, n, code)
		}
	}
}
