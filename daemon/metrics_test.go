package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics"
	metricsapi "k8s.io/component-base/metrics/api/v1"
)

// TestMetricFaults: upstream's words for what is wrong about the flags of metrics.
func TestMetricFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "manifest")
	if err := os.WriteFile(file, []byte("requests: pods\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, set := range map[string]func(*metrics.Options){
		"only the previous minor version is allowed":        func(o *metrics.Options) { o.ShowHiddenMetricsForVersion = "1.10" },
		`must be fully qualified metric names matching`:     func(o *metrics.Options) { o.DisabledMetrics = []string{"a b"} },
		"must have keys with format `metricName,labelName`": func(o *metrics.Options) { o.AllowListMapping = map[string]string{"requests": "pods"} },
		"invalid allow list mapping in manifest":            func(o *metrics.Options) { o.AllowListMappingManifest = file },
		"failed to read allow list manifest":                func(o *metrics.Options) { o.AllowListMappingManifest = file + "x" },
		"cannot specify both allowListMapping and": func(o *metrics.Options) {
			o.AllowListMapping, o.AllowListMappingManifest = map[string]string{"a,b": "c"}, file
		},
	} {
		o := defaultOperation()
		set(&o.Metrics)
		if err := errors.Join(o.complete()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestShownMetrics: a manifest restricts labels as the flag does.
func TestShownMetrics(t *testing.T) {
	file := filepath.Join(t.TempDir(), "manifest")
	if err := os.WriteFile(file, []byte("\"test_requests,resource\": \"pods,nodes\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]*metrics.Options{
		"flag":     {MetricsConfiguration: metricsapi.MetricsConfiguration{AllowListMapping: map[string]string{"test_requests,resource": "pods,nodes"}}},
		"manifest": {MetricsConfiguration: metricsapi.MetricsConfiguration{AllowListMappingManifest: file}},
	} {
		view, err := shownMetrics(o)
		if err != nil {
			t.Fatal(err)
		}
		family, label, one := "test_requests", "resource", 1.0
		f := &dto.MetricFamily{Name: &family, Type: dto.MetricType_COUNTER.Enum()}
		for _, value := range []string{"pods", "widgets", "gizmos"} {
			f.Metric = append(f.Metric, &dto.Metric{Label: []*dto.LabelPair{{Name: &label, Value: &value}}, Counter: &dto.Counter{Value: &one}})
		}
		shown := view.Show([]*dto.MetricFamily{f})[0].Metric
		if len(shown) != 2 || shown[1].Label[0].GetValue() != "unexpected" || shown[1].Counter.GetValue() != 2 {
			t.Errorf("%s: %v", name, shown)
		}
	}
}
