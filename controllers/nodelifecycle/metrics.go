package nodelifecycle

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/topology"

	"clipper/api"
)

// What the process counts about nodes, under upstream's names.
var (
	// evictions counts nodes that began to lose their pods.
	evictions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "node_collector_evictions_total",
		Help: "Number of Node evictions that happened since current instance of NodeController started.",
	}, []string{"zone"})
	looking = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "node_collector_update_node_health_duration_seconds",
		Help:    "Duration in seconds for NodeController to update the health of a single node.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
	})

	sizeDesc      = prometheus.NewDesc("node_collector_zone_size", "Gauge measuring number of registered Nodes per zones.", []string{"zone"}, nil)
	healthDesc    = prometheus.NewDesc("node_collector_zone_health", "Gauge measuring percentage of healthy nodes per zone.", []string{"zone"}, nil)
	unhealthyDesc = prometheus.NewDesc("node_collector_unhealthy_nodes_in_zone", "Gauge measuring number of not Ready Nodes per zones.", []string{"zone"}, nil)
)

// Collectors are what the process knows and counts about the nodes that c reads.
func Collectors(c api.Client) []prometheus.Collector {
	return []prometheus.Collector{evictions, looking, zones{api.Nodes.View(c)}}
}

// zone names a node's part of the cluster.
var zone = topology.GetZoneKey

// zones shows how the zones are when somebody asks.
type zones struct{ nodes api.TypedView[*corev1.Node] }

// Describe implements prometheus.Collector.
func (z zones) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sizeDesc, healthDesc, unhealthyDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (z zones) Collect(ch chan<- prometheus.Metric) {
	all, unhealthy := map[string]int{}, map[string]int{}
	for _, n := range z.nodes.List("") {
		all[zone(n)]++
		if ready(n) != corev1.ConditionTrue {
			unhealthy[zone(n)]++
		}
	}
	for zone, n := range all {
		for d, value := range map[*prometheus.Desc]float64{
			sizeDesc: float64(n), unhealthyDesc: float64(unhealthy[zone]), healthDesc: float64(100*(n-unhealthy[zone])) / float64(n),
		} {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, zone)
		}
	}
}
