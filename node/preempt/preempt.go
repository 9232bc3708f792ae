// Package preempt decides who makes room on a node for a critical pod: a pure function of the pods that run
// there. As a v1.36 kubelet does it: besteffort pods rather than burstable ones, those rather than guaranteed
// ones; then as few as possible, then those that asked for least.
package preempt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"clipper/node/cgroup"
	"clipper/node/priority"
)

// A Need is an amount of a resource that is missing: thousandths of CPU, else units.
type Need struct {
	Resource corev1.ResourceName
	Amount   int64
}

// Requested returns how much of a resource a pod has asked for, in the unit of a Need. A pod is one pod.
func Requested(pod *corev1.Pod, name corev1.ResourceName) int64 {
	if name == corev1.ResourcePods {
		return 1
	}
	q := resource.PodRequests(pod, resource.PodResourcesOptions{})[name]
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// Victims returns which of the running pods make room for pod, or an error if they cannot.
func Victims(pod *corev1.Pod, running []*corev1.Pod, needs []Need) ([]*corev1.Pod, error) {
	classes := map[corev1.PodQOSClass][]*corev1.Pod{}
	for _, p := range running {
		if priority.Over(pod, p) {
			qos := cgroup.QOS(p)
			classes[qos] = append(classes[qos], p)
		}
	}
	bestEffort, burstable, guaranteed := classes[corev1.PodQOSBestEffort], classes[corev1.PodQOSBurstable], classes[corev1.PodQOSGuaranteed]
	if missing := less(needs, slices.Concat(bestEffort, burstable, guaranteed)); len(missing) > 0 {
		return nil, unable(missing)
	}
	// What only the dearer classes can give is taken from them, and no more.
	fromGuaranteed := closest(guaranteed, less(needs, slices.Concat(bestEffort, burstable)))
	fromBurstable := closest(burstable, less(needs, slices.Concat(bestEffort, fromGuaranteed)))
	fromBestEffort := closest(bestEffort, less(needs, slices.Concat(fromBurstable, fromGuaranteed)))
	return slices.Concat(fromBestEffort, fromBurstable, fromGuaranteed), nil
}

func unable(missing []Need) error {
	var b strings.Builder
	for _, n := range missing {
		fmt.Fprintf(&b, "(res: %v, q: %d), ", n.Resource, n.Amount)
	}
	return fmt.Errorf("preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [%s]", b.String())
}

// less returns what is still missing without the pods.
func less(needs []Need, without []*corev1.Pod) []Need {
	var out []Need
	for _, n := range needs {
		for _, p := range without {
			n.Amount -= Requested(p, n.Resource)
		}
		if n.Amount > 0 {
			out = append(out, n)
		}
	}
	return out
}

// closest takes pods until nothing is missing, each time the one that leaves least.
func closest(pods []*corev1.Pod, needs []Need) []*corev1.Pod {
	var out []*corev1.Pod
	left := slices.Clone(pods)
	for len(needs) > 0 && len(left) > 0 {
		best := slices.MinFunc(left, func(a, b *corev1.Pod) int {
			return cmp.Or(cmp.Compare(distance(a, needs), distance(b, needs)),
				cmp.Compare(Requested(a, corev1.ResourceMemory), Requested(b, corev1.ResourceMemory)),
				cmp.Compare(Requested(a, corev1.ResourceCPU), Requested(b, corev1.ResourceCPU)))
		})
		out = append(out, best)
		needs = less(needs, []*corev1.Pod{best})
		left = slices.DeleteFunc(left, func(p *corev1.Pod) bool { return p == best })
	}
	return out
}

// distance says how much of the needs a pod leaves: each counts the same, whatever its unit.
func distance(pod *corev1.Pod, needs []Need) float64 {
	var sum float64
	for _, n := range needs {
		if rest := float64(n.Amount - Requested(pod, n.Resource)); rest > 0 {
			sum += rest / float64(n.Amount) * (rest / float64(n.Amount))
		}
	}
	return sum
}
