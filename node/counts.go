package node

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are what the agent counts about the pods it takes, under upstream's names.
type counts struct {
	preemptions, rejections *prometheus.CounterVec
}

func newCounts() counts {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	return counts{
		preemptions: counter("kubelet_preemptions", "[ALPHA] Cumulative number of pod preemptions by preemption resource", "preemption_signal"),
		rejections:  counter("kubelet_admission_rejections_total", "[ALPHA] Cumulative number pod admission rejections by the Kubelet.", "reason"),
	}
}

// collectors returns what a registry of metrics takes.
func (c counts) collectors() []prometheus.Collector {
	return []prometheus.Collector{c.preemptions, c.rejections}
}

// counted are the reasons that are told apart, as upstream does: users can make others up, by their resources'
// names.
var counted = []string{
	"AppArmor", "PodOSSelectorNodeLabelDoesNotMatch", "PodOSNotSupported", "SupplementalGroupsPolicyNotSupported",
	"UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory", "OutOfephemeral-storage", "OutOfpods", "Evicted",
	"SysctlForbidden", "TopologyAffinityError", "NodeShutdown",
}

func (c counts) rejected(reason string) {
	switch {
	case slices.Contains(counted, reason):
	case strings.HasPrefix(reason, "OutOf"):
		reason = "OutOfExtendedResources"
	default:
		reason = "Other"
	}
	c.rejections.WithLabelValues(reason).Inc()
}
