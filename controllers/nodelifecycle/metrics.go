package nodelifecycle

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-helpers/node/topology"
)

// evictions counts nodes that began to lose their pods, under upstream's name.
var evictions = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "node_collector_evictions_total",
	Help: "Number of Node evictions that happened since current instance of NodeController started.",
}, []string{"zone"})

// Collectors are what the process counts about nodes.
func Collectors() []prometheus.Collector { return []prometheus.Collector{evictions} }

// zone names a node's part of the cluster.
var zone = topology.GetZoneKey
