package endpointslice

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"clipper/api"
)

const subsystem = "endpoint_slice_controller"

// What the process counts about services that were looked at, under upstream's names.
var (
	syncs = prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: subsystem, Name: "syncs",
		Help: "Number of EndpointSlice syncs"}, []string{"result"})
	changes = prometheus.NewCounterVec(prometheus.CounterOpts{Subsystem: subsystem, Name: "changes",
		Help: "Number of EndpointSlice changes"}, []string{"operation"})
	changed = prometheus.NewHistogramVec(prometheus.HistogramOpts{Subsystem: subsystem, Name: "endpointslices_changed_per_sync",
		Help: "Number of EndpointSlices changed on each Service sync"}, []string{"topology", "traffic_distribution"})
	added = prometheus.NewHistogram(prometheus.HistogramOpts{Subsystem: subsystem, Name: "endpoints_added_per_sync",
		Help: "Number of endpoints added on each Service sync", Buckets: prometheus.ExponentialBuckets(2, 2, 15)})
	removed = prometheus.NewHistogram(prometheus.HistogramOpts{Subsystem: subsystem, Name: "endpoints_removed_per_sync",
		Help: "Number of endpoints removed on each Service sync", Buckets: prometheus.ExponentialBuckets(2, 2, 15)})

	endpointsDesc    = desc("endpoints_desired", "Number of endpoints desired")
	slicesDesc       = desc("num_endpoint_slices", "Number of EndpointSlices")
	bestSlicesDesc   = desc("desired_endpoint_slices", "Number of EndpointSlices that would exist with perfect endpoint allocation")
	distributionDesc = desc("services_count_by_traffic_distribution", "Number of Services using some specific trafficDistribution", "traffic_distribution")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("", subsystem, name), help, labels, nil)
}

// Collectors are what the process counts about services, and what is to be seen of the slices that c reads.
func Collectors(c api.Client) []prometheus.Collector {
	return []prometheus.Collector{syncs, changes, changed, added, removed, stock{api.Services.View(c), api.EndpointSlices.View(c)}}
}

// looked counts a service that was looked at.
func looked(err error) {
	result := "success"
	if err != nil {
		result = "error"
	}
	syncs.WithLabelValues(result).Inc()
}

// counted counts a change of a slice, unless it failed.
func counted(operation string, err error) error {
	if err == nil {
		changes.WithLabelValues(operation).Inc()
	}
	return err
}

// observe counts what a plan has done to have.
func observe(svc *corev1.Service, have []*discoveryv1.EndpointSlice, p Plan) {
	distribution := ""
	if svc.Spec.TrafficDistribution != nil {
		distribution = *svc.Spec.TrafficDistribution
	}
	changed.WithLabelValues("Disabled", distribution).Observe(float64(len(p.Create) + len(p.Update) + len(p.Delete)))
	come, gone := p.turnover(have)
	added.Observe(float64(come))
	removed.Observe(float64(gone))
}

// turnover counts the endpoints that come and go. Slices that stay as they are have the same before and after.
func (p *Plan) turnover(have []*discoveryv1.EndpointSlice) (come, gone int) {
	before, after := endpointsOf(p.replaced(have)), endpointsOf(slices.Concat(p.Create, p.Update))
	return missing(before, after), missing(after, before)
}

// replaced returns those of have that the plan changes or deletes.
func (p *Plan) replaced(have []*discoveryv1.EndpointSlice) (out []*discoveryv1.EndpointSlice) {
	names := map[string]bool{}
	for _, s := range slices.Concat(p.Update, p.Delete) {
		names[s.Name] = true
	}
	for _, s := range have {
		if names[s.Name] {
			out = append(out, s)
		}
	}
	return out
}

func endpointsOf(all []*discoveryv1.EndpointSlice) map[string]bool {
	out := map[string]bool{}
	for _, s := range all {
		for i := range s.Endpoints {
			out[string(s.AddressType)+" "+endpointKey(&s.Endpoints[i])] = true
		}
	}
	return out
}

// missing is how many of b are not in a.
func missing(a, b map[string]bool) (n int) {
	for k := range b {
		if !a[k] {
			n++
		}
	}
	return n
}

// stock is what services and slices there are when somebody asks.
type stock struct {
	services api.TypedView[*corev1.Service]
	slices   api.TypedView[*discoveryv1.EndpointSlice]
}

// Describe implements prometheus.Collector.
func (s stock) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{endpointsDesc, slicesDesc, bestSlicesDesc, distributionDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s stock) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	distributions := map[string]int{}
	for _, svc := range s.services.List("") {
		if d := svc.Spec.TrafficDistribution; d != nil {
			distributions[*d]++
		}
	}
	for d, n := range distributions {
		gauge(distributionDesc, n, d)
	}
	endpoints, slices, best := s.count()
	gauge(endpointsDesc, endpoints)
	gauge(slicesDesc, slices)
	gauge(bestSlicesDesc, best)
}

// count returns how many endpoints and slices there are, and how few slices would do.
func (s stock) count() (endpoints, slices, best int) {
	type group struct{ service, ports string }
	groups, services := map[group]int{}, map[string]int{}
	for _, slice := range s.slices.List("") {
		if slice.Labels[discoveryv1.LabelManagedBy] != ManagedBy {
			continue
		}
		slices++
		endpoints += len(slice.Endpoints)
		service := slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]
		services[service] += 0
		groups[group{service, groupKey(slice.AddressType, slice.Ports)}] += len(slice.Endpoints)
	}
	for g, n := range groups {
		services[g.service] += (n + maxEndpoints - 1) / maxEndpoints
	}
	for _, n := range services {
		best += max(n, 1) // a service without endpoints has a slice that is empty
	}
	return endpoints, slices, best
}
