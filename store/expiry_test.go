package store_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/store"
)

func event(name string) store.Write {
	return store.Write{Key: store.Key{Resource: "events", Namespace: "ns", Name: name},
		Object: &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, CreationTimestamp: metav1.Now()}}}
}

// TestExpiry: objects with a life end when nobody writes to them again, also across a restart.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.TTL = map[string]time.Duration{"events": time.Hour}
		l := &memory{}
		s, err := store.Open(l, o)
		if err != nil {
			t.Fatal(err)
		}
		left := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := names(s.Snapshot("events"), "", store.Key{}); got != want {
				t.Errorf("at %v there are %q, want %q", time.Now().Format(time.TimeOnly), got, want)
			}
		}
		a := mustCommit(t, s, event("a"))
		mustCommit(t, s, event("b"))
		create(t, s, "ns", "pod", "n1")
		time.Sleep(40 * time.Minute)
		again := event("a")
		again.Expect = a.Revision
		again.Object.SetCreationTimestamp(a.Object.GetCreationTimestamp())
		again.Object.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "m", Time: &metav1.Time{Time: time.Now()}}})
		mustCommit(t, s, again)
		mustCommit(t, s, event("c"))
		time.Sleep(19 * time.Minute)
		left("ns/a ns/b ns/c")
		time.Sleep(2 * time.Minute)
		left("ns/a ns/c")
		s.Close()
		time.Sleep(10 * time.Minute)
		if s, err = store.Open(l, o); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		left("ns/a ns/c")
		time.Sleep(30 * time.Minute)
		left("")
		if s.Snapshot("pods").Len("") != 1 {
			t.Error("what has no life is gone")
		}
		for i := range 1000 {
			mustCommit(t, s, event(fmt.Sprint(i)))
		}
		time.Sleep(61 * time.Minute)
		left("")
	})
}
