package meter_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
	"clipper/store"
	"clipper/store/codec"
	"clipper/store/log/pebble"
	"clipper/store/meter"
)

// TestCollect: writes are requests to etcd, and what comes of them are the events that watches are served from.
func TestCollect(t *testing.T) {
	m := meter.New()
	l, err := pebble.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(l, store.Options{Codec: codec.New(scheme.Scheme), Resources: map[string]api.Resource{"pods": api.Pods.Resource}, Committed: m.Committed})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m.Watch(s)
	k := store.Key{Resource: "pods", Namespace: "a", Name: "b"}
	it, err := s.Commit(t.Context(), store.Write{Key: k, Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}}})
	if err == nil {
		_, err = s.Commit(t.Context(), store.Write{Key: k, Expect: it.Revision})
	}
	if err != nil {
		t.Fatal(err)
	}
	const want = `# HELP apiserver_storage_events_received_total Number of etcd events received split by kind.
# TYPE apiserver_storage_events_received_total counter
apiserver_storage_events_received_total{group="",resource="pods"} 2
# HELP apiserver_watch_cache_events_received_total Counter of events received in watch cache broken by resource type.
# TYPE apiserver_watch_cache_events_received_total counter
apiserver_watch_cache_events_received_total{group="",resource="pods"} 2
# HELP apiserver_watch_cache_resource_version Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant digits.
# TYPE apiserver_watch_cache_resource_version gauge
apiserver_watch_cache_resource_version{group="",resource="pods"} 3
# HELP etcd_requests_total Etcd request counts for each operation and object type.
# TYPE etcd_requests_total counter
etcd_requests_total{group="",operation="create",resource="pods"} 1
etcd_requests_total{group="",operation="delete",resource="pods"} 1
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "apiserver_storage_events_received_total", "apiserver_watch_cache_events_received_total",
		"apiserver_watch_cache_resource_version", "etcd_requests_total"); err != nil {
		t.Error(err)
	}
}
