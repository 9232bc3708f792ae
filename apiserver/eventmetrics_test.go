package apiserver

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestEventMetrics has events at and beyond the bounds, in more than one tally.
func TestEventMetrics(t *testing.T) {
	var m eventMetrics
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	var one, other eventTally
	for _, size := range []int{0, 1023, 1024, 1025, 128 << 10} {
		one.add(size)
	}
	other.add(128<<10 + 1)
	m.add(pods, &one)
	m.add(pods, &one) // nothing since
	m.add(pods, &other)
	const want = `
# HELP apiserver_watch_events_sizes Watch event size distribution in bytes
# TYPE apiserver_watch_events_sizes histogram
apiserver_watch_events_sizes_bucket{group="",resource="pods",version="v1",le="1024"} 3
apiserver_watch_events_sizes_bucket{group="",resource="pods",version="v1",le="2048"} 4
apiserver_watch_events_sizes_bucket{group="",resource="pods",version="v1",le="4096"} 4
apiserver_watch_events_sizes_bucket{group="",resource="pods",version="v1",le="8192"} 4
apiserver_watch_events_sizes_bucket{group="",resource="pods",version="v1",le="16384"} 4
apiserver_watch_events_sizes_bucket{group="",resource="pods",version="v1",le="32768"} 4
apiserver_watch_events_sizes_bucket{group="",resource="pods",version="v1",le="65536"} 4
apiserver_watch_events_sizes_bucket{group="",resource="pods",version="v1",le="131072"} 5
apiserver_watch_events_sizes_bucket{group="",resource="pods",version="v1",le="+Inf"} 6
apiserver_watch_events_sizes_sum{group="",resource="pods",version="v1"} 265217
apiserver_watch_events_sizes_count{group="",resource="pods",version="v1"} 6
# HELP apiserver_watch_events_total Number of events sent in watch clients
# TYPE apiserver_watch_events_total counter
apiserver_watch_events_total{group="",resource="pods",version="v1"} 6
`
	if err := testutil.CollectAndCompare(&m, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	m.Reset()
	if n := testutil.CollectAndCount(&m); n != 0 {
		t.Errorf("%d series after a reset", n)
	}
}
