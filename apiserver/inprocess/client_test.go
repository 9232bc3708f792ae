package inprocess_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
)

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
	}
}

// TestWritesAreSeenAtOnce: the guarantee that spares controllers their expectations.
func TestWritesAreSeenAtOnce(t *testing.T) {
	c := inprocesstest.New(t)
	view := api.Pods.View(c)
	for i := range 50 {
		name := fmt.Sprint("p", i)
		made, err := api.Pods.Create(t.Context(), c, pod(name, "n1"))
		if err != nil {
			t.Fatal(err)
		}
		if seen, ok := view.Get("default", name); !ok || seen != made {
			t.Fatalf("%s was created and is not in the view", name)
		}
		if made.Spec.RestartPolicy != corev1.RestartPolicyAlways {
			t.Fatalf("%s was not given its defaults: %+v", name, made.Spec)
		}
		if n := len(view.ByIndex(api.ByNode, "n1")); n != i+1 {
			t.Fatalf("%d pods by node after %d creates", n, i+1)
		}
	}
	patched, err := api.Pods.Patch(t.Context(), c, "default", "p0", "", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))
	if err != nil || patched.Labels["a"] != "b" {
		t.Fatalf("patched: %+v %v", patched, err)
	}
	if seen, _ := view.Get("default", "p0"); seen != patched {
		t.Error("the view does not show the patch")
	}
	zero := int64(0)
	if err := api.Pods.Delete(t.Context(), c, "default", "p0", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	if _, ok := view.Get("default", "p0"); ok {
		t.Error("the view shows a deleted pod")
	}
	if _, err := api.Pods.Get(t.Context(), c, "default", "p0"); !apierrors.IsNotFound(err) {
		t.Errorf("get: %v", err)
	}
	if list, err := api.Pods.List(t.Context(), c, "default", metav1.ListOptions{}); err != nil || len(list) != 49 || len(view.List("")) != 49 {
		t.Errorf("list: %d, %v", len(list), err)
	}
}

func TestViewWatch(t *testing.T) {
	c := inprocesstest.New(t)
	if _, err := api.Pods.Create(t.Context(), c, pod("first", "")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan string, 100)
	done := make(chan error)
	go func() {
		done <- api.Pods.View(c).Watch(ctx, func(e api.Event) {
			if e.Type == api.Synced {
				got <- "synced"
				return
			}
			got <- fmt.Sprint(e.Type, " ", e.Object().GetName())
		})
	}()
	expect := func(want string) {
		t.Helper()
		if s := <-got; s != want {
			t.Errorf("got %q, want %q", s, want)
		}
	}
	expect(fmt.Sprint(api.Added, " first"))
	expect("synced")
	if _, err := api.Pods.Create(t.Context(), c, pod("second", "")); err != nil {
		t.Fatal(err)
	}
	expect(fmt.Sprint(api.Added, " second"))
	zero := int64(0)
	if err := api.Pods.Delete(t.Context(), c, "default", "first", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	expect(fmt.Sprint(api.Modified, " first")) // it is seen ending before it is gone
	expect(fmt.Sprint(api.Deleted, " first"))
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("watch ended with %v", err)
	}
}

func TestUnknownResource(t *testing.T) {
	c := inprocesstest.New(t)
	r := api.Resource{Group: "stable.example.com", Version: "v1", Name: "crontabs", Kind: "CronTab", Namespaced: true}
	if _, err := c.Get(t.Context(), r, "default", "a"); !apierrors.IsNotFound(err) {
		t.Errorf("get: %v", err)
	}
	if n := len(c.View(r).List("")); n != 0 {
		t.Errorf("%d objects", n)
	}
}

// TestTimesAreThoseOfTheWire: a fraction of a second would be lost on the first patch from the network, and
// that would look like a change.
func TestTimesAreThoseOfTheWire(t *testing.T) {
	c := inprocesstest.New(t)
	if _, err := api.Pods.Create(t.Context(), c, pod("p", "n")); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 123456789, time.UTC)
	got, err := api.Pods.Mutate(t.Context(), c, "default", "p", "status", func(p *corev1.Pod) (bool, error) {
		p.Status.StartTime = &metav1.Time{Time: now}
		return true, nil
	})
	if err != nil || !got.Status.StartTime.Time.Equal(now.Truncate(time.Second)) {
		t.Errorf("start time %v, %v", got.Status.StartTime, err)
	}
}
