package resourcequota

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
	"clipper/apiserver/admission/quota"
)

// Admission and the controller together: never more than allowed, and what goes can come again.
func TestQuotaHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := func() []api.Resource {
			return []api.Resource{api.ConfigMaps.Resource, api.Pods.Resource, api.Secrets.Resource}
		}
		c := &apitest.Client{}
		c.Add(api.ResourceQuotas.Resource, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "q"},
			Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"configmaps": resource.MustParse("5")}}})
		c.Add(api.ConfigMaps.Resource, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "before"}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c, served).Run(ctx) }()
		used := func() string {
			synctest.Wait()
			q, _ := api.ResourceQuotas.View(c).Get("ns", "q")
			v := q.Status.Used["configmaps"]
			return v.String()
		}
		if used() != "1" {
			t.Fatalf("used %s at the start", used())
		}
		p, err := quota.New(c, served, nil)
		if err != nil {
			t.Fatal(err)
		}
		create := func(name string, fails bool) error {
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
			var undo []func()
			err := p.Validate(ctx, &admission.Attributes{Operation: admission.Create, Resource: api.ConfigMaps.Resource, Namespace: "ns", Name: name, Object: cm,
				Undo: func(fn func()) { undo = append(undo, fn) }})
			if err == nil && fails {
				err = errors.New("validation said no")
			} else if err == nil {
				_, err = api.ConfigMaps.Create(ctx, c, cm)
			}
			if err != nil {
				for _, fn := range undo {
					fn()
				}
			}
			return err
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		made, refused := 0, 0
		for i := range 20 {
			wg.Go(func() {
				err := create(fmt.Sprintf("c%d", i), false)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					made++
				case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota: q, requested: configmaps=1, used: configmaps=5, limited: configmaps=5"):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		if made != 4 || refused != 16 || used() != "5" {
			t.Errorf("made %d, refused %d, used %s", made, refused, used())
		}
		if err := api.ConfigMaps.Delete(ctx, c, "ns", "before", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if used() != "4" {
			t.Errorf("used %s after a deletion", used())
		}
		if err := create("x", true); err == nil || used() != "4" {
			t.Errorf("used %s after a create that failed: %v", used(), err)
		}
		if err := create("y", false); err != nil || used() != "5" {
			t.Errorf("used %s after the last create: %v", used(), err)
		}
		// What admission has charged for stays charged until the object is there.
		if err := api.ConfigMaps.Delete(ctx, c, "ns", "y", metav1.DeleteOptions{}); err != nil || used() != "4" {
			t.Fatal(err, used())
		}
		err = p.Validate(ctx, &admission.Attributes{Operation: admission.Create, Resource: api.ConfigMaps.Resource, Namespace: "ns", Name: "slow",
			Object: &corev1.ConfigMap{}, Undo: func(func()) {}})
		if err != nil || used() != "5" {
			t.Errorf("used %s while a create is on its way: %v", used(), err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestForeignStatusIsPutRight: what somebody else writes into a quota's status does not stay.
func TestForeignStatusIsPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		c.Add(api.ResourceQuotas.Resource, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "q"},
			Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"configmaps": resource.MustParse("5")}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- New(c, func() []api.Resource { return []api.Resource{api.ConfigMaps.Resource} }).Run(ctx)
		}()
		for _, tt := range []struct {
			hard, used string
			within     time.Duration
		}{
			{"1", "0", settle},
			{"5", "3", resync}, // looks like a charge of admission, so it stands until the next full count
		} {
			synctest.Wait()
			q, _ := api.ResourceQuotas.View(c).Get("ns", "q")
			next := q.DeepCopy()
			next.Status.Hard["configmaps"], next.Status.Used["configmaps"] = resource.MustParse(tt.hard), resource.MustParse(tt.used)
			if _, err := api.ResourceQuotas.UpdateStatus(ctx, c, next); err != nil {
				t.Fatal(err)
			}
			time.Sleep(tt.within + time.Second)
			synctest.Wait()
			q, _ = api.ResourceQuotas.View(c).Get("ns", "q")
			hard, used := q.Status.Hard["configmaps"], q.Status.Used["configmaps"]
			if hard.String() != "5" || used.String() != "0" {
				t.Errorf("after %s: hard %s, used %s; want 5, 0", tt.within, hard.String(), used.String())
			}
		}
		cancel()
		<-done
	})
}
