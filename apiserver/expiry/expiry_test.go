package expiry

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/store"
	"clipper/store/codec"
	"clipper/store/log/pebble"
)

func TestSweep(t *testing.T) {
	l, err := pebble.Open("store", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(l, store.Options{Codec: codec.New(scheme.Scheme)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	put := func(resource, name string, meta metav1.ObjectMeta) {
		meta.Namespace, meta.Name = "default", name
		meta.UID = "u"
		_, err := s.Commit(t.Context(), store.Write{Key: store.Key{Resource: resource, Namespace: "default", Name: name},
			Object: &corev1.Event{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}, ObjectMeta: meta}})
		if err != nil {
			t.Fatal(err)
		}
	}
	touched := ago(time.Minute)
	put(events, "old", metav1.ObjectMeta{CreationTimestamp: ago(2 * time.Hour)})
	put(events, "new", metav1.ObjectMeta{CreationTimestamp: ago(59 * time.Minute)})
	put(events, "repeated", metav1.ObjectMeta{CreationTimestamp: ago(2 * time.Hour), ManagedFields: []metav1.ManagedFieldsEntry{{Time: &touched}}})
	put("others", "old", metav1.ObjectMeta{CreationTimestamp: ago(2 * time.Hour)})
	if err := sweep(t.Context(), s, now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, resource := range []string{events, "others"} {
		s.Snapshot(resource).Ascend("", store.Key{}, func(item *store.Item) bool {
			left = append(left, resource+"/"+item.Key.Name)
			return true
		})
	}
	if len(left) != 3 || left[0] != "events/new" || left[1] != "events/repeated" || left[2] != "others/old" {
		t.Errorf("left: %v", left)
	}
}
