package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/apiservertest"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/servertest"
)

// A witness sees what admission is asked, and has nothing against it.
type witness func(*admission.Attributes)

func (see witness) Validate(_ context.Context, a *admission.Attributes) error {
	see(a)
	return nil
}

// TestDeleteCollectionAdmission: plug-ins see each object, under the name that the client gave: none.
func TestDeleteCollectionAdmission(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	see := witness(func(a *admission.Attributes) {
		mu.Lock()
		defer mu.Unlock()
		if a.Operation == admission.Delete {
			seen = append(seen, fmt.Sprintf("%s/%q: %s", a.Namespace, a.Name, a.Old.GetName()))
		}
	})
	s, err := servertest.Start(t.TempDir(), servertest.Options{Pipeline: func(p *pipeline.Pipeline) {
		p.Admit(admission.NewChain(admission.Plugin{Validate: see}))
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	maps := kubernetes.NewForConfigOrDie(s.Config).CoreV1().ConfigMaps("default")
	for _, name := range []string{"a", "b"} {
		if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := maps.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(seen)
	if want := []string{`default/"": a`, `default/"": b`}; !slices.Equal(seen, want) {
		t.Errorf("admission saw %q, want %q", seen, want)
	}
}

// TestDeleteCollection: what the selector picks goes, all of it, except what a finalizer holds.
func TestDeleteCollection(t *testing.T) {
	s := apiservertest.Start(t)
	ctx := t.Context()
	for i := range 100 {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("cm-", i), Labels: map[string]string{"parity": fmt.Sprint(i % 2)}}}
		if i%20 == 0 {
			cm.Finalizers = []string{"example.com/held"}
		}
		if _, err := api.ConfigMaps.Create(ctx, s.Client, cm); err != nil {
			t.Fatal(err)
		}
	}
	c, err := kubernetes.NewForConfig(s.Admin(t))
	if err != nil {
		t.Fatal(err)
	}
	maps := c.CoreV1().ConfigMaps("default")
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "parity=0"}); err != nil {
		t.Fatal(err)
	}
	count := func(selector string) (n, deleting int) {
		l, err := maps.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			t.Fatal(err)
		}
		for _, cm := range l.Items {
			if cm.DeletionTimestamp != nil {
				deleting++
			}
		}
		return len(l.Items), deleting
	}
	if n, deleting := count("parity=0"); n != 5 || deleting != 5 {
		t.Errorf("%d that were selected are left, %d of them deleting; want the 5 with a finalizer", n, deleting)
	}
	if n, deleting := count("parity=1"); n != 50 || deleting != 0 {
		t.Errorf("%d that were not selected are left, %d of them deleting; want all 50", n, deleting)
	}
}

// TestDeleteWorkers: objects of a collection are deleted side by side, and no more of them than are wanted.
func TestDeleteWorkers(t *testing.T) {
	for _, workers := range []int{0, 1} {
		var mu sync.Mutex
		now, most := 0, 0
		both := make(chan struct{})
		see := witness(func(a *admission.Attributes) {
			if a.Operation != admission.Delete {
				return
			}
			mu.Lock()
			if now++; now > most {
				if most = now; most == 2 {
					close(both)
				}
			}
			mu.Unlock()
			if workers != 1 {
				<-both // the second is to come while the first is under way
			}
			mu.Lock()
			now--
			mu.Unlock()
		})
		s, err := servertest.Start(t.TempDir(), servertest.Options{DeleteWorkers: workers, Pipeline: func(p *pipeline.Pipeline) {
			p.Admit(admission.NewChain(admission.Plugin{Validate: see}))
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Stop() })
		maps := kubernetes.NewForConfigOrDie(s.Config).CoreV1().ConfigMaps("default")
		for i := range 2 {
			if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("m", i)}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := maps.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		if workers == 1 && most != 1 {
			t.Errorf("one worker, and %d at a time", most)
		}
	}
}
