package garbagecollector

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/inprocess/inprocesstest"
)

func TestDecide(t *testing.T) {
	deleted := &metav1.Time{Time: time.Now()}
	owners := func(names ...string) []metav1.OwnerReference {
		var out []metav1.OwnerReference
		for _, n := range names {
			out = append(out, metav1.OwnerReference{UID: types.UID(n)})
		}
		return out
	}
	state := func(r metav1.OwnerReference) ownerState {
		return map[types.UID]ownerState{"solid": solid, "absent": absent, "waiting": waiting}[r.UID]
	}
	for _, tc := range []struct {
		name       string
		meta       metav1.ObjectMeta
		dependents bool
		want       action
		policy     metav1.DeletionPropagation
		drop       int
	}{
		{name: "without owners", want: nothing},
		{name: "held", meta: metav1.ObjectMeta{OwnerReferences: owners("solid")}, want: nothing},
		{name: "held, another owner gone", meta: metav1.ObjectMeta{OwnerReferences: owners("solid", "absent", "waiting")}, want: dropOwners, drop: 2},
		{name: "lost", meta: metav1.ObjectMeta{OwnerReferences: owners("absent")}, want: remove, policy: metav1.DeletePropagationBackground},
		{name: "lost, but with a finalizer", meta: metav1.ObjectMeta{OwnerReferences: owners("absent"), Finalizers: []string{"orphan"}}, want: remove, policy: metav1.DeletePropagationOrphan},
		{name: "owner waits", meta: metav1.ObjectMeta{OwnerReferences: owners("waiting")}, want: remove, policy: metav1.DeletePropagationBackground},
		{name: "owner waits for those below too", meta: metav1.ObjectMeta{OwnerReferences: owners("waiting")}, dependents: true, want: remove, policy: metav1.DeletePropagationForeground},
		{name: "going already", meta: metav1.ObjectMeta{OwnerReferences: owners("absent"), DeletionTimestamp: deleted}, want: nothing},
		{name: "foreground", meta: metav1.ObjectMeta{DeletionTimestamp: deleted, Finalizers: []string{"foregroundDeletion"}}, want: waitForRest},
		{name: "orphaning", meta: metav1.ObjectMeta{DeletionTimestamp: deleted, Finalizers: []string{"x", "orphan"}}, want: orphan},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := decide(&corev1.Pod{ObjectMeta: tc.meta}, state, tc.dependents)
			if got.Action != tc.want || got.Policy != tc.policy || len(got.Owners) != tc.drop {
				t.Errorf("decided %+v, want %v %s, drop %d", got, tc.want, tc.policy, tc.drop)
			}
		})
	}
}

// world is a running collector and objects that own each other: configmaps, for they have no life of their own.
type world struct {
	t *testing.T
	c *inprocess.Client
}

func start(t *testing.T) world {
	c := inprocesstest.New(t)
	run(t, New(c, nil))
	return world{t, c}
}

func run(t *testing.T, ctl *Controller) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- ctl.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (w world) create(name string, finalizers []string, owners ...*corev1.ConfigMap) *corev1.ConfigMap {
	w.t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Finalizers: finalizers}}
	yes := true
	for _, o := range owners {
		cm.OwnerReferences = append(cm.OwnerReferences, metav1.OwnerReference{
			APIVersion: "v1", Kind: "ConfigMap", Name: o.Name, UID: o.UID, BlockOwnerDeletion: &yes})
	}
	made, err := api.ConfigMaps.Create(w.t.Context(), w.c, cm)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func (w world) delete(name string, policy metav1.DeletionPropagation) {
	w.t.Helper()
	if err := api.ConfigMaps.Delete(w.t.Context(), w.c, "default", name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		w.t.Fatal(err)
	}
}

// until waits for a state of the configmaps; every change of one is looked at.
func (w world) until(what string, ok func(get func(string) *corev1.ConfigMap) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	view := api.ConfigMaps.View(w.c)
	get := func(name string) *corev1.ConfigMap {
		cm, _ := view.Get("default", name)
		return cm
	}
	reached := false
	view.Watch(ctx, func(api.Event) {
		if ok(get) {
			reached = true
			cancel()
		}
	})
	if !reached {
		w.t.Fatalf("never: %s; left are %v", what, view.List("default"))
	}
}

func TestBackground(t *testing.T) {
	w := start(t)
	a := w.create("a", nil)
	b := w.create("b", nil, a)
	w.create("c", nil, b)
	w.delete("a", metav1.DeletePropagationBackground)
	w.until("all go", func(get func(string) *corev1.ConfigMap) bool {
		return get("a") == nil && get("b") == nil && get("c") == nil
	})
}

func TestForegroundTakesTheLeavesFirst(t *testing.T) {
	w := start(t)
	a := w.create("a", nil)
	b := w.create("b", nil, a)
	w.create("c", []string{"example.com/hold"}, b)
	w.delete("a", metav1.DeletePropagationForeground)
	w.until("the leaf is being deleted", func(get func(string) *corev1.ConfigMap) bool {
		return get("c") != nil && get("c").DeletionTimestamp != nil
	})
	if _, err := api.ConfigMaps.Get(t.Context(), w.c, "default", "a"); err != nil {
		t.Errorf("the root went before its leaves: %v", err)
	}
	if _, err := api.ConfigMaps.Mutate(t.Context(), w.c, "default", "c", "", func(cm *corev1.ConfigMap) (bool, error) {
		cm.Finalizers = nil
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	w.until("all go", func(get func(string) *corev1.ConfigMap) bool {
		return get("a") == nil && get("b") == nil && get("c") == nil
	})
}

func TestOrphan(t *testing.T) {
	w := start(t)
	a := w.create("a", nil)
	w.create("b", nil, a)
	w.delete("a", metav1.DeletePropagationOrphan)
	w.until("the owner goes", func(get func(string) *corev1.ConfigMap) bool { return get("a") == nil })
	if b, err := api.ConfigMaps.Get(t.Context(), w.c, "default", "b"); err != nil || len(b.OwnerReferences) != 0 || b.DeletionTimestamp != nil {
		t.Errorf("the dependent: %+v %v", b, err)
	}
}

func TestTwoOwners(t *testing.T) {
	w := start(t)
	a, b := w.create("a", nil), w.create("b", nil)
	w.create("both", nil, a, b)
	w.delete("a", metav1.DeletePropagationForeground)
	w.until("a goes", func(get func(string) *corev1.ConfigMap) bool { return get("a") == nil })
	if both, err := api.ConfigMaps.Get(t.Context(), w.c, "default", "both"); err != nil || len(both.OwnerReferences) != 1 || both.OwnerReferences[0].Name != "b" {
		t.Errorf("the dependent of both: %+v %v", both, err)
	}
	w.delete("b", metav1.DeletePropagationBackground)
	w.until("it goes", func(get func(string) *corev1.ConfigMap) bool { return get("both") == nil })
}

func TestBornOrphaned(t *testing.T) {
	w := start(t)
	ghost := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "ghost", UID: "no-such-uid"}}
	w.create("a", nil, ghost)
	w.until("it goes", func(get func(string) *corev1.ConfigMap) bool { return get("a") == nil })
}

func TestCircle(t *testing.T) {
	w := start(t)
	a := w.create("a", nil)
	b := w.create("b", nil, a)
	c := w.create("c", nil, b)
	yes := true
	if _, err := api.ConfigMaps.Mutate(t.Context(), w.c, "default", "a", "", func(cm *corev1.ConfigMap) (bool, error) {
		cm.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "c", UID: c.UID, BlockOwnerDeletion: &yes}}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	w.delete("a", metav1.DeletePropagationForeground)
	w.until("all go", func(get func(string) *corev1.ConfigMap) bool {
		return get("a") == nil && get("b") == nil && get("c") == nil
	})
}

// late serves configmaps only after a while, like a kind that a user defines.
type late struct {
	*inprocess.Client
	served *atomic.Bool
}

func (l late) Resources() []api.Resource {
	return slices.DeleteFunc(l.Client.Resources(), func(r api.Resource) bool { return r.Name == "configmaps" && !l.served.Load() })
}

func TestKindsThatComeLater(t *testing.T) {
	c := late{inprocesstest.New(t), &atomic.Bool{}}
	ctl := New(c, nil)
	run(t, ctl)
	w := world{t, c.Client}
	w.create("a", nil, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "ghost", UID: "no-such-uid"}})
	c.served.Store(true)
	ctl.queue.Add(newKinds)
	w.until("it goes", func(get func(string) *corev1.ConfigMap) bool { return get("a") == nil })
}
