package rank

import (
	"math"

	corev1 "k8s.io/api/core/v1"

	"clipper/scheduler/cluster"
	"clipper/scheduler/fit"
)

// Default spreading, for pods that say nothing themselves and belong to a service or controller.
const (
	defaultHostSkew = 3
	defaultZoneSkew = 5
)

// spread: the fewer pods of the same kind are in a node's domains, the better.
func spread(r *fit.Request, nodes []*cluster.Node, points []int64) bool {
	cs := fit.Constraints(r.Pod, corev1.ScheduleAnyway)
	own := len(r.Pod.Spec.TopologySpreadConstraints) > 0
	if !own {
		s := r.DefaultSelector()
		if s == nil || s.Empty() {
			return false
		}
		cs = []fit.Constraint{
			fit.DefaultConstraint(corev1.LabelHostname, defaultHostSkew, r.Pod.Namespace, s),
			fit.DefaultConstraint(corev1.LabelTopologyZone, defaultZoneSkew, r.Pod.Namespace, s),
		}
	}
	if len(cs) == 0 {
		return false
	}
	ignored := make([]bool, len(nodes))
	qualified := 0
	for i, n := range nodes {
		// With defaults, a node without a zone is still spread by host.
		if ignored[i] = own && !fit.HasAllDomains(cs, n); !ignored[i] {
			qualified++
		}
	}
	raw := make([]float64, len(nodes))
	for i := range cs {
		addSpread(r, &cs[i], own, cs, nodes, ignored, qualified, raw)
	}
	for i := range raw {
		points[i] = int64(math.Round(raw[i]))
	}
	normalizeSpread(points, ignored)
	return true
}

// addSpread adds one constraint's cost of each node: the matching pods of its domain, weighted by how many
// domains there are.
func addSpread(r *fit.Request, c *fit.Constraint, own bool, all []fit.Constraint, nodes []*cluster.Node, ignored []bool, qualified int, raw []float64) {
	perNode := c.Key == corev1.LabelHostname
	counts := map[string]int{}
	domains := qualified
	if !perNode {
		for i, n := range nodes {
			if v, ok := n.Domain(c.Key); ok && !ignored[i] {
				counts[v] = 0
			}
		}
		domains = len(counts)
		if domains == 0 {
			return
		}
		for _, n := range r.Cluster().Nodes() {
			v, ok := n.Domain(c.Key)
			if _, wanted := counts[v]; !ok || !wanted || own && !fit.HasAllDomains(all, n) || !r.Includes(c, n) {
				continue
			}
			counts[v] += c.Count(n)
		}
	}
	weight := math.Log(float64(domains + 2))
	for i, n := range nodes {
		v, ok := n.Domain(c.Key)
		if !ok || ignored[i] {
			continue
		}
		count := counts[v]
		if perNode {
			count = c.Count(n)
		}
		raw[i] += float64(count)*weight + float64(c.MaxSkew-1)
	}
}

func normalizeSpread(points []int64, ignored []bool) {
	least, most := int64(math.MaxInt64), int64(0)
	for i, p := range points {
		if !ignored[i] {
			least, most = min(least, p), max(most, p)
		}
	}
	for i, p := range points {
		switch {
		case ignored[i]:
			points[i] = 0
		case most == 0:
			points[i] = maxPoints
		default:
			points[i] = maxPoints * (most + least - p) / most
		}
	}
}

// hardWeight is what a placed pod's required affinity to this pod counts as.
const hardWeight = 1

// podAffinity: pods that like each other come together, the others stay apart.
func podAffinity(r *fit.Request, nodes []*cluster.Node, points []int64) bool {
	p := r.Pod
	own := len(p.Affinity.Preferred)+len(p.Affinity.PreferredAnti) > 0
	some, _ := r.Cluster().HasAffinity()
	if !own && !some {
		return false
	}
	sums := map[string]map[string]int64{}
	for _, n := range r.Cluster().Nodes() {
		if !own && n.AffinityPods == 0 {
			continue
		}
		for _, other := range n.Pods {
			addTerms(sums, n, p.Affinity.Preferred, other, r, 1)
			addTerms(sums, n, p.Affinity.PreferredAnti, other, r, -1)
			addTerms(sums, n, other.Affinity.Preferred, p, r, 1)
			addTerms(sums, n, other.Affinity.PreferredAnti, p, r, -1)
			for i := range other.Affinity.Required {
				addTerm(sums, n, &other.Affinity.Required[i], p, r, hardWeight)
			}
		}
	}
	if len(sums) == 0 {
		return false
	}
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	for i, n := range nodes {
		for key, values := range sums {
			if v, ok := n.Domain(key); ok {
				points[i] += values[v]
			}
		}
		least, most = min(least, points[i]), max(most, points[i])
	}
	for i := range points {
		if most == least {
			points[i] = 0
			continue
		}
		points[i] = int64(maxPoints * float64(points[i]-least) / float64(most-least))
	}
	return true
}

// addTerms counts pod's match with terms for the domain that n is in.
func addTerms(sums map[string]map[string]int64, n *cluster.Node, terms []cluster.Term, pod *cluster.Pod, r *fit.Request, sign int64) {
	for i := range terms {
		addTerm(sums, n, &terms[i], pod, r, sign*terms[i].Weight)
	}
}

func addTerm(sums map[string]map[string]int64, n *cluster.Node, t *cluster.Term, pod *cluster.Pod, r *fit.Request, weight int64) {
	v, ok := n.Domain(t.TopologyKey)
	if !ok || !t.Matches(pod, r.NamespaceLabels) {
		return
	}
	if sums[t.TopologyKey] == nil {
		sums[t.TopologyKey] = map[string]int64{}
	}
	sums[t.TopologyKey][v] += weight
}
