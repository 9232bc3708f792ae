package record

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"

	"clipper/api"
)

// fakeEvents keeps events by name and applies the count of a patch.
type fakeEvents struct {
	api.Client
	events map[string]*corev1.Event
}

func (f *fakeEvents) Create(_ context.Context, _ api.Resource, o api.Object, _ metav1.CreateOptions) (api.Object, error) {
	e := o.(*corev1.Event).DeepCopy()
	e.ResourceVersion = "1"
	f.events[e.Name] = e
	return e, nil
}

func (f *fakeEvents) Patch(_ context.Context, r api.Resource, _, name, _ string, _ types.PatchType, data []byte, _ metav1.PatchOptions) (api.Object, error) {
	e, ok := f.events[name]
	if !ok {
		return nil, apierrors.NewNotFound(r.GroupResource(), name)
	}
	e = e.DeepCopy()
	if err := json.Unmarshal(data, e); err != nil {
		return nil, err
	}
	f.events[name] = e
	return e, nil
}

func TestRepetitionsAreCounted(t *testing.T) {
	f := &fakeEvents{events: map[string]*corev1.Event{}}
	clk := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	r := newRecorder(f, "kubelet", "node-1", clk)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}}
	for range 3 {
		r.Event(pod, corev1.EventTypeWarning, "BackOff", "back-off %s", "10s")
		clk.SetTime(clk.Now().Add(time.Second))
	}
	r.Event(pod, corev1.EventTypeNormal, "Started", "Started container")
	r.drain(context.Background())

	if len(f.events) != 2 {
		t.Fatalf("got %d events, want 2", len(f.events))
	}
	for name, e := range f.events {
		want := int32(1)
		if e.Reason == "BackOff" {
			want = 3
		}
		if e.Count != want || e.InvolvedObject.Kind != "Pod" || e.Source.Host != "node-1" || !strings.HasPrefix(name, "web.") {
			t.Errorf("event %s: count %d (want %d), %+v", name, e.Count, want, e)
		}
	}
}

func TestExpiredPredecessorStartsAnew(t *testing.T) {
	f := &fakeEvents{events: map[string]*corev1.Event{}}
	r := newRecorder(f, "kubelet", "node-1", testclock.NewFakePassiveClock(time.Unix(1000, 0)))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}}
	r.Event(pod, corev1.EventTypeWarning, "BackOff", "again")
	r.drain(context.Background())
	clear(f.events)
	r.Event(pod, corev1.EventTypeWarning, "BackOff", "again")
	r.drain(context.Background())
	if len(f.events) != 1 {
		t.Fatalf("got %d events, want 1", len(f.events))
	}
	for _, e := range f.events {
		if e.Count != 1 {
			t.Errorf("count %d, want 1", e.Count)
		}
	}
}

func TestFullQueueDropsInsteadOfBlocking(t *testing.T) {
	r := newRecorder(nil, "kubelet", "", testclock.NewFakePassiveClock(time.Unix(1000, 0)))
	for range queued + 10 {
		r.EventAt(corev1.ObjectReference{Name: "x"}, "Normal", "R", "m")
	}
	if len(r.queue) != queued {
		t.Errorf("queue holds %d, want %d", len(r.queue), queued)
	}
}

func TestAnnotations(t *testing.T) {
	f := &fakeEvents{events: map[string]*corev1.Event{}}
	r := newRecorder(f, "kubelet", "node-1", testclock.NewFakePassiveClock(time.Unix(1000, 0)))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}}
	r.EventAnnotated(pod, map[string]string{"starved_resource": "memory"}, corev1.EventTypeWarning, "Evicted", "100% of it")
	r.drain(context.Background())
	for _, e := range f.events {
		if e.Annotations["starved_resource"] != "memory" || e.Message != "100% of it" || e.InvolvedObject.UID != "u" || e.Namespace != "ns" {
			t.Errorf("got %+v", e)
		}
	}
	if len(f.events) != 1 {
		t.Errorf("%d events", len(f.events))
	}
}
