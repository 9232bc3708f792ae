package exposition

import (
	"bytes"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

func TestShow(t *testing.T) {
	r := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests", Help: "h"}, []string{"resource", "verb"})
	running := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "running", Help: "h"}, []string{"resource"})
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "took", Help: "h", Buckets: []float64{1, 2}}, []string{"resource"})
	size := prometheus.NewSummaryVec(prometheus.SummaryOpts{Name: "size", Help: "h"}, []string{"resource"})
	other := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "other", Help: "h"}, []string{"resource"})
	gone := prometheus.NewCounter(prometheus.CounterOpts{Name: "gone", Help: "h"})
	r.MustRegister(requests, running, took, size, other, gone)
	for i, resource := range []string{"pods", "nodes", "widgets", "gizmos"} {
		requests.WithLabelValues(resource, "get").Add(float64(i + 1))
		requests.WithLabelValues(resource, "list").Add(10)
		running.WithLabelValues(resource).Set(float64(i))
		took.WithLabelValues(resource).Observe(float64(i))
		size.WithLabelValues(resource).Observe(float64(i))
		other.WithLabelValues(resource).Inc()
	}
	view := New([]string{"gone", "never"}, map[string]string{"requests,resource": "pods,nodes", "requests,verb": "get", "running,resource": "pods",
		"took,resource": "", "size,resource": "pods", "requests,never": "a", "never,a": "b"})
	const want = `# HELP other h
# TYPE other counter
other{resource="gizmos"} 1
other{resource="nodes"} 1
other{resource="pods"} 1
other{resource="widgets"} 1
# HELP requests h
# TYPE requests counter
requests{resource="nodes",verb="get"} 2
requests{resource="nodes",verb="unexpected"} 10
requests{resource="pods",verb="get"} 1
requests{resource="pods",verb="unexpected"} 10
requests{resource="unexpected",verb="get"} 7
requests{resource="unexpected",verb="unexpected"} 20
# HELP running h
# TYPE running gauge
running{resource="pods"} 0
running{resource="unexpected"} 6
# HELP size h
# TYPE size summary
size_sum{resource="pods"} 0
size_count{resource="pods"} 1
size_sum{resource="unexpected"} 6
size_count{resource="unexpected"} 3
# HELP took h
# TYPE took histogram
took_bucket{resource="unexpected",le="1"} 2
took_bucket{resource="unexpected",le="2"} 3
took_bucket{resource="unexpected",le="+Inf"} 4
took_sum{resource="unexpected"} 6
took_count{resource="unexpected"} 4
`
	for range 2 { // what is shown once is not counted again
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		for _, f := range view.Show(families) {
			if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
				t.Fatal(err)
			}
		}
		if text.String() != want {
			t.Fatal(text.String())
		}
	}
}
