package apiserver

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/metrics/legacyregistry"

	"clipper/apiserver/exposition"
	"clipper/apiserver/pipeline"
	"clipper/catalogue"
)

// handler answers /metrics: with the server's own figures, those of its parts, and what the libraries count
// that come from upstream.
func (s *Server) metricsHandler() http.Handler {
	s.metrics.registry.MustRegister(&state{s: s})
	for _, c := range s.options.Collectors {
		s.metrics.registry.MustRegister(c)
	}
	return promhttp.HandlerFor(merged{s.metrics.registry, s.options.Metrics}, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// merged adds to a registry what libraries have put into upstream's, unless the registry has it itself.
type merged struct {
	own  prometheus.Gatherer
	view exposition.View
}

// Gather implements prometheus.Gatherer.
func (m merged) Gather() ([]*dto.MetricFamily, error) {
	families, err := m.own.Gather()
	if err != nil {
		return families, err
	}
	families = withOldNames(families)
	known := map[string]bool{}
	for _, f := range families {
		known[f.GetName()] = true
	}
	theirs, err := legacyregistry.DefaultGatherer.Gather()
	for _, f := range theirs {
		if !known[f.GetName()] {
			families = append(families, f)
		}
	}
	families = m.view.Show(families)
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, err
}

// withOldNames shows the latencies of requests under their former name, too, which dashboards still ask for.
func withOldNames(families []*dto.MetricFamily) []*dto.MetricFamily {
	was := "apiserver_request_slo_duration_seconds"
	for _, f := range families {
		if f.GetName() == "apiserver_request_sli_duration_seconds" {
			return append(families, &dto.MetricFamily{Name: &was, Help: f.Help, Type: f.Type, Unit: f.Unit, Metric: f.Metric})
		}
	}
	return families
}

// state shows what is true at the moment: it is read off when somebody asks, and costs nothing until then.
type state struct{ s *Server }

var (
	inflightDesc = prometheus.NewDesc("apiserver_current_inflight_requests", "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.", []string{"request_kind"}, nil)
	objectsDesc  = prometheus.NewDesc("apiserver_resource_objects", "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.", []string{"group", "resource"}, nil)
	storedDesc   = prometheus.NewDesc("apiserver_storage_objects", "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.", []string{"resource"}, nil)
	featureDesc  = prometheus.NewDesc("kubernetes_feature_enabled", "This metric records the data about the stage and enablement of a k8s feature.", []string{"name", "stage"}, nil)
	compatDesc   = prometheus.NewDesc("version_info", "Provides the compatibility version info of the component. The component label is the name of the component, usually kube, but is relevant for aggregated-apiservers.", []string{"component", "binary", "emulation", "min_compat"}, nil)
	buildDesc    = prometheus.NewDesc("kubernetes_build_info", "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
		[]string{"major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version", "compiler", "platform"}, nil)
)

// Describe implements prometheus.Collector.
func (c *state) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{inflightDesc, objectsDesc, storedDesc, featureDesc, compatDesc, buildDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *state) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	reads, writes := c.s.inflight.most(time.Now())
	gauge(inflightDesc, float64(reads), "readOnly")
	gauge(inflightDesc, float64(writes), "mutating")
	for _, r := range c.s.pipeline.Table().Resources {
		if n, ok := c.s.count(r); ok && !c.s.options.HideCounts {
			gauge(objectsDesc, float64(n), r.Group, r.Name)
			gauge(storedDesc, float64(n), r.GroupResource().String())
		}
	}
	for name, spec := range utilfeature.DefaultMutableFeatureGate.GetAll() {
		on := 0.0
		if utilfeature.DefaultFeatureGate.Enabled(name) {
			on = 1
		}
		gauge(featureDesc, on, string(name), string(spec.PreRelease))
	}
	v := c.s.options.Version
	release, before := v.Major+"."+v.Minor, v.Major+"."+minorBefore(v.Minor)
	gauge(compatDesc, 1, "kube", release, release, before)
	gauge(buildDesc, 1, v.Major, v.Minor, v.GitVersion, v.GitCommit, v.GitTreeState, v.BuildDate, v.GoVersion, v.Compiler, v.Platform)
}

// minorBefore is the oldest minor version whose servers a cluster may have beside this one.
func minorBefore(minor string) string {
	n, err := strconv.Atoi(minor)
	if err != nil {
		return minor
	}
	return strconv.Itoa(n - 1)
}

// count returns how many objects of a stored resource there are.
func (s *Server) count(r *catalogue.Resource) (int, bool) {
	if r.Prefix == "" {
		return 0, false
	}
	return s.pipeline.Snapshot(&pipeline.Request{Resource: r}).Len(""), true
}
