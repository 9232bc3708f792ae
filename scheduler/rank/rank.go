// Package rank chooses among the nodes that a pod fits on. Each criterion gives a node 0 to 100 points; the
// weighted sum decides, and chance among equals. Criteria, weights and arithmetic are upstream's defaults,
// so that a cluster fills the way its users expect.
package rank

import (
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"clipper/scheduler/cluster"
	"clipper/scheduler/fit"
)

const maxPoints = 100

// Weights of the criteria.
const (
	taintWeight    = 3
	affinityWeight = 2
	spreadWeight   = 2
	podWeight      = 2
	leastWeight    = 1
	balanceWeight  = 1
	imageWeight    = 1
)

// Best returns the best of nodes, which is not empty. chance(n) returns a number below n.
func Best(r *fit.Request, nodes []*cluster.Node, chance func(n int) int) *cluster.Node {
	if len(nodes) == 1 {
		return nodes[0]
	}
	total := Points(r, nodes)
	best, equals := 0, 1
	for i := 1; i < len(nodes); i++ {
		switch {
		case total[i] > total[best]:
			best, equals = i, 1
		case total[i] == total[best]:
			if equals++; chance(equals) == 0 {
				best = i
			}
		}
	}
	return nodes[best]
}

// Points returns the weighted points of each node.
func Points(r *fit.Request, nodes []*cluster.Node) []int64 {
	total := make([]int64, len(nodes))
	scratch := make([]int64, len(nodes))
	add := func(weight int64, criterion func(points []int64) bool) {
		clear(scratch)
		if !criterion(scratch) {
			return
		}
		for i, p := range scratch {
			total[i] += weight * p
		}
	}
	add(taintWeight, func(points []int64) bool { return taints(r, nodes, points) })
	add(affinityWeight, func(points []int64) bool { return nodeAffinity(r, nodes, points) })
	add(spreadWeight, func(points []int64) bool { return spread(r, nodes, points) })
	add(podWeight, func(points []int64) bool { return podAffinity(r, nodes, points) })
	add(imageWeight, func(points []int64) bool { return images(r, nodes, points) })
	for i, n := range nodes {
		total[i] += leastWeight*leastAllocated(r.Pod, n) + balanceWeight*balanced(r.Pod, n)
	}
	return total
}

// taints: the fewer taints of effect PreferNoSchedule are not tolerated, the better.
func taints(r *fit.Request, nodes []*cluster.Node, points []int64) bool {
	var most int64
	for i, n := range nodes {
		for t := range n.Spec.Taints {
			if fit.Avoids(r.Pod.Pod, &n.Spec.Taints[t]) {
				points[i]++
			}
		}
		most = max(most, points[i])
	}
	if most == 0 {
		return false // the same for all
	}
	for i := range points {
		points[i] = maxPoints - points[i]*maxPoints/most
	}
	return true
}

// nodeAffinity: the more weight of preferred terms matches, the better.
func nodeAffinity(r *fit.Request, nodes []*cluster.Node, points []int64) bool {
	a := r.Pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return false
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return false // validation refuses such terms
	}
	var most int64
	for i, n := range nodes {
		points[i] = terms.Score(n.Node)
		most = max(most, points[i])
	}
	if most == 0 {
		return false
	}
	for i := range points {
		points[i] = points[i] * maxPoints / most
	}
	return true
}

// leastAllocated: the more CPU and memory stays free, the better.
func leastAllocated(p *cluster.Pod, n *cluster.Node) int64 {
	sum, kinds := int64(0), int64(0)
	free := func(used, capacity int64) {
		if capacity == 0 {
			return
		}
		kinds++
		if used <= capacity {
			sum += (capacity - used) * maxPoints / capacity
		}
	}
	free(n.NonZero.MilliCPU+p.NonZero.MilliCPU, n.Allocatable.MilliCPU)
	free(n.NonZero.Memory+p.NonZero.Memory, n.Allocatable.Memory)
	if kinds == 0 {
		return 0
	}
	return sum / kinds
}

// balanced: the nearer the used shares of CPU and memory are to each other, the better. A pod that requests
// nothing changes no share.
func balanced(p *cluster.Pod, n *cluster.Node) int64 {
	if p.Request.MilliCPU == 0 && p.Request.Memory == 0 || n.Allocatable.MilliCPU == 0 || n.Allocatable.Memory == 0 {
		return 0
	}
	share := func(used, capacity int64) float64 { return min(1, float64(used)/float64(capacity)) }
	cpu := share(n.Requested.MilliCPU+p.Request.MilliCPU, n.Allocatable.MilliCPU)
	memory := share(n.Requested.Memory+p.Request.Memory, n.Allocatable.Memory)
	deviation := math.Abs(cpu-memory) / 2 // the standard deviation of two values
	return int64((1 - deviation) * maxPoints)
}

const (
	smallImage = 23 << 20   // below it, pulling costs nothing worth moving for
	largeImage = 1000 << 20 // above it, more size makes no difference
)

// images: the more of the pod's images are there already, the better; an image that few nodes have counts
// for less, or the first node to have it would attract every copy.
func images(r *fit.Request, nodes []*cluster.Node, points []int64) bool {
	names, containers := imageNames(r.Pod.Pod)
	all := len(r.Cluster().Nodes())
	useful := false
	spreads := make([]float64, len(names))
	for i, name := range names {
		spreads[i] = float64(r.Cluster().ImageNodes(name)) / float64(all)
		useful = useful || spreads[i] > 0
	}
	if !useful {
		return false
	}
	most := int64(largeImage) * int64(containers)
	for i, n := range nodes {
		var sum int64
		for j, name := range names {
			if size, ok := n.Images[name]; ok {
				sum += int64(float64(size) * spreads[j])
			}
		}
		sum = min(max(sum, smallImage), most)
		points[i] = maxPoints * (sum - smallImage) / (most - smallImage)
	}
	return true
}

func imageNames(pod *corev1.Pod) (names []string, containers int) {
	add := func(image string) {
		if strings.LastIndex(image, ":") <= strings.LastIndex(image, "/") {
			image += ":latest"
		}
		names = append(names, image)
	}
	for i := range pod.Spec.InitContainers {
		add(pod.Spec.InitContainers[i].Image)
	}
	for i := range pod.Spec.Containers {
		add(pod.Spec.Containers[i].Image)
	}
	containers = len(names)
	for i := range pod.Spec.Volumes {
		if v := pod.Spec.Volumes[i].Image; v != nil {
			add(v.Reference)
		}
	}
	return names, max(containers, 1)
}
