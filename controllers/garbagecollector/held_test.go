package garbagecollector

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
)

var flunders = api.Resource{Group: "wardle.example.com", Version: "v1alpha1", Name: "flunders", Kind: "Flunder", Namespaced: true}

// elsewhere plays an extension server that holds flunders.
type elsewhere struct {
	*metadatafake.FakeMetadataClient
	mu   sync.Mutex
	gone bool
	asks int // for what there is
}

func (e *elsewhere) Collectable() []api.Resource {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asks++
	if e.gone {
		return nil
	}
	return []api.Resource{flunders}
}

func (e *elsewhere) objects() metadata.ResourceInterface {
	return e.Resource(flunders.GVR()).Namespace("default")
}

func (e *elsewhere) exists(t *testing.T, name string) bool {
	t.Helper()
	_, err := e.objects().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

func flunder(name string, finalizers []string, owners ...metav1.OwnerReference) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "wardle.example.com/v1alpha1", Kind: "Flunder"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Finalizers: finalizers, OwnerReferences: owners},
	}
}

func ownedBy(apiVersion, kind, name string, uid types.UID) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: uid, BlockOwnerDeletion: &yes}
}

// startWith runs a collector beside an extension server, to whose Gets answer is put first; it may be nil.
func startWith(t *testing.T, answer clienttesting.ReactionFunc, objects ...runtime.Object) (world, *elsewhere, *Controller) {
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	e := &elsewhere{FakeMetadataClient: metadatafake.NewSimpleMetadataClient(scheme, objects...)}
	if answer != nil {
		e.PrependReactor("get", "flunders", answer)
	}
	c := inprocesstest.New(t)
	ctl := New(c, e)
	run(t, ctl)
	return world{t, c}, e, ctl
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// TestHeldDependents: what an extension server holds goes with its owner, which it keeps from going first.
func TestHeldDependents(t *testing.T) {
	for policy, want := range map[metav1.DeletionPropagation]bool{
		metav1.DeletePropagationBackground: false, metav1.DeletePropagationForeground: false, metav1.DeletePropagationOrphan: true,
	} {
		t.Run(string(policy), func(t *testing.T) {
			w, e, ctl := startWith(t, nil)
			a := w.create("a", nil)
			f := flunder("f", nil, ownedBy("v1", "ConfigMap", "a", a.UID))
			if err := e.Tracker().Create(flunders.GVR(), f, "default"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the flunder is seen", func() bool { return len(ctl.graph.of(a.UID)) == 1 })
			w.delete("a", policy)
			w.until("the owner goes", func(get func(string) *corev1.ConfigMap) bool { return get("a") == nil })
			if want {
				if got, err := e.objects().Get(t.Context(), "f", metav1.GetOptions{}); err != nil || len(got.OwnerReferences) != 0 {
					t.Errorf("%+v %v", got, err)
				}
				return
			}
			if policy == metav1.DeletePropagationForeground && e.exists(t, "f") {
				t.Error("the owner went first")
			}
			eventually(t, "the flunder goes", func() bool { return !e.exists(t, "f") })
		})
	}
}

// TestHeldOwner: objects of this server stay while their owner at an extension server exists, or cannot be asked for,
// and go with it.
func TestHeldOwner(t *testing.T) {
	var silent sync.Mutex
	failing, asked := true, 0
	w, e, ctl := startWith(t, func(clienttesting.Action) (bool, runtime.Object, error) {
		silent.Lock()
		defer silent.Unlock()
		asked++
		return failing, nil, errors.New("no answer")
	}, flunder("f", nil))
	eventually(t, "flunders are followed", func() bool {
		_, ok := (*ctl.kinds.Load())[flunders.GVK().GroupKind()]
		return ok
	})
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	cm.OwnerReferences = []metav1.OwnerReference{ownedBy("wardle.example.com/v1alpha1", "Flunder", "f", "uid-f")}
	lost := cm.DeepCopy()
	lost.Name, lost.OwnerReferences[0].Name = "lost", "none"
	for _, o := range []*corev1.ConfigMap{cm, lost} {
		if _, err := api.ConfigMaps.Create(t.Context(), w.c, o); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it asks for the owner", func() bool {
		silent.Lock()
		defer silent.Unlock()
		return asked > 1
	})
	if _, err := api.ConfigMaps.Get(t.Context(), w.c, "default", "lost"); err != nil {
		t.Fatalf("deleted though its owner may exist: %v", err)
	}
	silent.Lock()
	failing = false
	silent.Unlock()
	w.until("what has no owner goes", func(get func(string) *corev1.ConfigMap) bool { return get("lost") == nil })
	if _, err := api.ConfigMaps.Get(t.Context(), w.c, "default", "a"); err != nil {
		t.Fatalf("deleted though its owner exists: %v", err)
	}
	if err := e.objects().Delete(t.Context(), "f", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until("it goes with its owner", func(get func(string) *corev1.ConfigMap) bool { return get("a") == nil })
}

// TestHeldResourceGoes: what is not served any more is not followed any more.
func TestHeldResourceGoes(t *testing.T) {
	_, e, ctl := startWith(t, nil, flunder("f", nil, ownedBy("v1", "ConfigMap", "a", "uid-a")))
	// A configmap that was never there: the flunder is garbage, and goes.
	eventually(t, "the flunder goes", func() bool { return !e.exists(t, "f") })
	if err := e.Tracker().Create(flunders.GVR(), flunder("g", nil, ownedBy("example.com/v1", "Unknown", "a", "uid-a")), "default"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another is seen", func() bool { return len(ctl.graph.of("uid-a")) == 1 })
	e.mu.Lock()
	e.gone = true
	e.mu.Unlock()
	ctl.queue.Add(newKinds)
	eventually(t, "it is forgotten", func() bool {
		_, ok := (*ctl.kinds.Load())[flunders.GVK().GroupKind()]
		return !ok && len(ctl.graph.of("uid-a")) == 0
	})
	if !slices.Contains(e.Collectable(), flunders) && !e.exists(t, "g") {
		t.Error("it was deleted")
	}
}

// beside is a Client whose view of APIServices is another.
type beside struct {
	Client
	services api.View
}

func (b beside) View(r api.Resource) api.View {
	if r == apiServices {
		return b.services
	}
	return b.Client.View(r)
}

// latecomer is a view of one extension server, which is there when come is closed.
type latecomer struct {
	api.View
	come chan struct{}
}

func (latecomer) List(string) []api.Object { return nil }

func (l latecomer) Watch(ctx context.Context, fn func(api.Event)) error {
	fn(api.Event{Type: api.Synced})
	select {
	case <-l.come:
		fn(api.Event{Type: api.Added, New: &apiregistrationv1.APIService{Spec: apiregistrationv1.APIServiceSpec{Service: &apiregistrationv1.ServiceReference{Name: "wardle"}}}})
	case <-ctx.Done():
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestHeldResourceComes: an extension server that comes later is followed, too.
func TestHeldResourceComes(t *testing.T) {
	come := make(chan struct{})
	e := &elsewhere{FakeMetadataClient: metadatafake.NewSimpleMetadataClient(metadatafake.NewTestScheme()), gone: true}
	ctl := New(beside{inprocesstest.New(t), latecomer{come: come}}, e)
	run(t, ctl)
	eventually(t, "the collector has looked", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.asks > 0
	})
	e.mu.Lock()
	e.gone = false
	e.mu.Unlock()
	close(come)
	eventually(t, "flunders are followed", func() bool {
		_, ok := (*ctl.kinds.Load())[flunders.GVK().GroupKind()]
		return ok
	})
}
