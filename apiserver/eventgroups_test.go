package apiserver_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"clipper/apiserver/servertest"
)

// TestWatchInTwoGroups: an event that is written in one API group is shown to a watch of the other in that one's form,
// whoever else has been shown it before.
func TestWatchInTwoGroups(t *testing.T) {
	s := start(t, servertest.Options{})
	asJSON, asProto := clients(t, s)
	const ns = "default"
	inCore, err := asProto.CoreV1().Events(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer inCore.Stop()
	protobuf, err := asProto.EventsV1().Events(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer protobuf.Stop()
	json, err := asJSON.EventsV1().Events(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer json.Stop()
	for i := range 3 {
		name := fmt.Sprint("e", i)
		event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, InvolvedObject: corev1.ObjectReference{Namespace: ns}, Message: "seen"}
		if _, err := asProto.CoreV1().Events(ns).Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if e, ok := next(t, inCore).(*corev1.Event); !ok || e.Name != name || e.Message != "seen" {
			t.Errorf("core/v1: %T %v", e, e)
		}
		for form, w := range map[string]watch.Interface{"protobuf": protobuf, "json": json} {
			if e, ok := next(t, w).(*eventsv1.Event); !ok || e.Name != name || e.Note != "seen" {
				t.Errorf("events.k8s.io/v1 in %s: %T %v", form, e, e)
			}
		}
	}
}

// next returns the object of the next event.
func next(t *testing.T, w watch.Interface) any {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch has ended")
		}
		return e.Object
	case <-time.After(30 * time.Second):
		t.Fatal("nothing in 30 s")
	}
	return nil
}
