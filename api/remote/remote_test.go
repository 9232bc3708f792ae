package remote

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
	"clipper/apiserver/apiservertest"
	"clipper/pki"
)

// client returns a running client, the administrator's or, for a node, the node's own, and an end for the
// test's patience.
func client(t *testing.T, s *apiservertest.Server, node string) (*Client, context.Context) {
	t.Helper()
	config := s.Admin(t)
	if node != "" {
		pair, err := s.Keys.CA.Issue(pki.NodeProfile(node))
		if err != nil {
			t.Fatal(err)
		}
		config.CertData, config.KeyData, err = pki.EncodePair(pair)
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := New(config, node)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c, ctx
}

// awaitServiceAccount waits for what a controller makes and pods need.
func awaitServiceAccount(ctx context.Context, c *Client) {
	ctx, cancel := context.WithCancel(ctx)
	_ = api.ServiceAccounts.View(c).Watch(ctx, func(ev api.Event) {
		if ev.New != nil && ev.New.GetNamespace() == "default" && ev.New.GetName() == "default" {
			cancel()
		}
	})
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"k": value}}
}

func pod(name, node, config string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	p.Spec.NodeName = node
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i", EnvFrom: []corev1.EnvFromSource{{
		ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: config}}}}}}
	return p
}

func TestReadsAndWrites(t *testing.T) {
	c, ctx := client(t, apiservertest.Start(t), "")
	made := must(api.ConfigMaps.Create(ctx, c, configMap("a", "1")))(t)
	if made.UID == "" || made.ResourceVersion == "" {
		t.Errorf("created: %+v", made)
	}
	if _, err := api.ConfigMaps.Create(ctx, c, configMap("a", "1")); !apierrors.IsAlreadyExists(err) {
		t.Errorf("created twice: %v", err)
	}
	next := made.DeepCopy()
	next.Data["k"] = "2"
	updated := must(api.ConfigMaps.Update(ctx, c, next))(t)
	if _, err := api.ConfigMaps.Update(ctx, c, next); !apierrors.IsConflict(err) {
		t.Errorf("updated with a stale revision: %v", err)
	}
	patched := must(api.ConfigMaps.Patch(ctx, c, "default", "a", "", types.MergePatchType, []byte(`{"data":{"more":"x"}}`)))(t)
	if patched.Data["k"] != "2" || patched.Data["more"] != "x" || updated.Data["k"] != "2" {
		t.Errorf("patched: %v", patched.Data)
	}
	if list := must(api.ConfigMaps.List(ctx, c, "default", metav1.ListOptions{FieldSelector: "metadata.name=a"}))(t); len(list) != 1 {
		t.Errorf("listed: %v", list)
	}
	if err := api.ConfigMaps.Delete(ctx, c, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := api.ConfigMaps.Get(ctx, c, "default", "a"); !apierrors.IsNotFound(err) {
		t.Errorf("after deletion: %v", err)
	}
}

// A node's views hold its own pods and what they refer to, and follow both.
func TestViewsOfANode(t *testing.T) {
	s := apiservertest.Start(t)
	admin, ctx := client(t, s, "")
	node, _ := client(t, s, "n1")
	awaitServiceAccount(ctx, admin)
	for i := range 3 {
		must(api.ConfigMaps.Create(ctx, admin, configMap(fmt.Sprintf("cm%d", i), "old")))(t)
	}
	must(api.Pods.Create(ctx, admin, pod("mine", "n1", "cm1")))(t)
	must(api.Pods.Create(ctx, admin, pod("theirs", "n2", "cm2")))(t)

	pods := api.Pods.View(node)
	if err := pods.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
	if got := pods.List(""); len(got) != 1 || got[0].Name != "mine" || len(pods.ByIndex(api.ByNode, "n1")) != 1 {
		t.Errorf("pods = %v", got)
	}
	events := make(chan api.Event, 100)
	go func() { _ = api.ConfigMaps.View(node).Watch(ctx, func(ev api.Event) { events <- ev }) }()
	next := func(what string) api.Event {
		t.Helper()
		for {
			select {
			case ev := <-events:
				if ev.Type != api.Synced && ev.Object().GetName() != "kube-root-ca.crt" {
					return ev
				}
			case <-ctx.Done():
				t.Fatalf("no event: %s", what)
			}
		}
	}
	if ev := next("cm1 is followed"); ev.Type != api.Added || ev.New.GetName() != "cm1" {
		t.Errorf("event = %+v", ev)
	}
	cm := must(api.ConfigMaps.Get(ctx, admin, "default", "cm1"))(t).DeepCopy()
	cm.Data["k"] = "new"
	must(api.ConfigMaps.Update(ctx, admin, cm))(t)
	if ev := next("cm1 has changed"); ev.Type != api.Modified || ev.New.(*corev1.ConfigMap).Data["k"] != "new" {
		t.Errorf("event = %+v", ev)
	}
	must(api.Pods.Create(ctx, admin, pod("another", "n1", "cm0")))(t)
	if ev := next("cm0 is followed"); ev.Type != api.Added || ev.New.GetName() != "cm0" {
		t.Errorf("event = %+v", ev)
	}
	zero := int64(0)
	if err := api.Pods.Delete(ctx, admin, "default", "another", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	if ev := next("cm0 is let go"); ev.Type != api.Deleted || ev.Old.GetName() != "cm0" {
		t.Errorf("event = %+v", ev)
	}
	for _, cm := range api.ConfigMaps.View(node).List("") {
		if cm.Name != "cm1" && cm.Name != "kube-root-ca.crt" {
			t.Errorf("the node sees %s, which none of its pods refers to", cm.Name)
		}
	}
}

// A reader that has fallen behind gets the net difference, and nothing is lost.
func TestSlowReader(t *testing.T) {
	w := newWatcher()
	obj := func(name string, rv int) api.Object {
		cm := configMap(name, "")
		cm.ResourceVersion = fmt.Sprint(rv)
		return cm
	}
	for i := range behind {
		w.add(api.Event{Type: api.Added, New: obj(fmt.Sprint("x", i), i)})
	}
	for rv := 5000; rv < 9000; rv++ {
		w.add(api.Event{Type: api.Modified, Old: obj("x1", rv-1), New: obj("x1", rv)})
	}
	w.add(api.Event{Type: api.Deleted, Old: obj("x2", 2)})
	got := w.take()
	if len(got) != behind+1 || got[1].Type != api.Added || got[1].New.GetResourceVersion() != "8999" || got[behind].Type != api.Deleted {
		t.Errorf("%d events; x1: %+v; last: %+v", len(got), got[1], got[len(got)-1])
	}
}
