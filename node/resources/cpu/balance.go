package cpu

import (
	"math"
	"slices"

	"k8s.io/utils/cpuset"

	"clipper/node/resources/topology"
)

// A share is how many CPUs each of some NUMA nodes gives: as many each, and of what does not divide evenly one group
// after the other from those that are to give more.
type share struct {
	nodes []int
	each  int
	more  []int
	score float64 // how uneven what is left is; the less the better
}

// takeBalanced picks from as few NUMA nodes as will do, about as many CPUs from each, so that what is left is as even
// as can be. Where that cannot be done it packs.
func takeBalanced(m *topology.Machine, free cpuset.CPUSet, n int, c choice) (cpuset.CPUSet, error) {
	t := &taking{choice: c, machine: m, free: free, need: n, got: cpuset.New()}
	c.byCache = false
	switch {
	case n == 0:
		return t.got, nil
	case n > free.Size():
		return cpuset.New(), errShort(n, free)
	}
	nodes := t.ranked(t.nodes())
	fewest, most := t.nodesNeeded(len(nodes))
	for k := fewest; k <= most; k++ {
		if s, ok := t.bestShare(nodes, k); ok {
			t.takeShare(s, c)
			return t.got, nil
		}
	}
	return takePacked(m, free, n, c)
}

// nodesNeeded returns between how many NUMA nodes the answer lies.
func (t *taking) nodesNeeded(available int) (fewest, most int) {
	roundUp := func(a, b int) int { return (a-1)/b + 1 }
	groups := roundUp(t.need, t.group)
	inNode := roundUp(roundUp(len(t.machine.CPUs), t.group), len(t.machine.NodeIDs()))
	return roundUp(groups, inNode), min(groups, available)
}

// bestShare finds those k of the nodes that share the load best; the first of several.
func (t *taking) bestShare(nodes []int, k int) (best share, found bool) {
	best.score = math.MaxFloat64
	combinations(nodes, k, func(some []int) bool {
		if s, ok := t.shareOf(nodes, some); ok && s.score < best.score {
			best, found = s, true
		}
		return best.score > 0
	})
	return best, found
}

// shareOf works out how some of the nodes can share the load, if they can.
func (t *taking) shareOf(nodes, some []int) (share, bool) {
	s := share{nodes: some, each: t.need / len(some) / t.group * t.group, score: math.MaxFloat64}
	left, groups := map[int]int{}, 0
	for _, n := range nodes {
		left[n] = t.freeIn(topology.ByNode, n).Size()
	}
	for _, n := range some {
		if left[n] < s.each {
			return s, false
		}
		groups += left[n] / t.group
	}
	if groups*t.group < t.need {
		return s, false
	}
	var able []int // to give more
	for _, n := range some {
		if left[n] -= s.each; left[n] >= t.group {
			able = append(able, n)
		}
	}
	rest := t.need - s.each*len(some)
	if rest == 0 {
		s.score = deviation(nodes, left)
	}
	for k := len(able); rest > 0 && k >= 1; k-- {
		combinations(able, k, func(more []int) bool {
			if score, ok := t.scoreOf(nodes, more, left, rest); ok && score < s.score {
				s.score, s.more = score, more
			}
			return true
		})
	}
	return s, s.score < math.MaxFloat64
}

// scoreOf tells how uneven what is left would be if more gave the rest.
func (t *taking) scoreOf(nodes, more []int, left map[int]int, rest int) (float64, bool) {
	after, sum := make(map[int]int, len(left)), 0
	for n, l := range left {
		after[n] = l
	}
	for _, n := range more {
		sum += after[n] / t.group * t.group
	}
	if sum < rest {
		return 0, false
	}
	for rest > 0 {
		for _, n := range more {
			if rest > 0 && after[n] >= t.group {
				after[n], rest = after[n]-t.group, rest-t.group
			}
		}
	}
	return deviation(nodes, after), true
}

func (t *taking) takeShare(s share, c choice) {
	from := func(node, n int) {
		cpus, err := takePacked(t.machine, t.freeIn(topology.ByNode, node), n, c)
		if err == nil { // shareOf has counted them
			t.take(cpus)
		}
	}
	for _, n := range s.nodes {
		from(n, s.each)
	}
	for t.need > 0 {
		for _, n := range s.more {
			if t.need > 0 && t.freeIn(topology.ByNode, n).Size() >= t.group {
				from(n, t.group)
			}
		}
	}
}

// combinations calls visit with every k of the items, in their order, until it returns false.
func combinations(items []int, k int, visit func([]int) bool) {
	var choose func(from int, chosen []int) bool
	choose = func(from int, chosen []int) bool {
		if len(chosen) == k {
			return visit(slices.Clone(chosen))
		}
		for i := from; i <= len(items)-(k-len(chosen)); i++ {
			if !choose(i+1, append(chosen, items[i])) {
				return false
			}
		}
		return true
	}
	choose(0, make([]int, 0, k))
}

// deviation is the standard deviation, to three decimals: closer ones count as equal.
func deviation(nodes []int, left map[int]int) float64 {
	round := func(x float64) float64 { return math.Round(x*1000) / 1000 }
	sum := 0.0
	for _, n := range nodes {
		sum += float64(left[n])
	}
	mean := round(sum / float64(len(nodes)))
	squares := 0.0
	for _, n := range nodes {
		squares += (float64(left[n]) - mean) * (float64(left[n]) - mean)
	}
	return round(math.Sqrt(squares / float64(len(nodes))))
}
