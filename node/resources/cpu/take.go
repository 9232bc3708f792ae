package cpu

import (
	"fmt"
	"slices"

	"k8s.io/utils/cpuset"

	"clipper/node/resources/topology"
)

// A choice is how to pick CPUs where several would do.
type choice struct {
	spread   bool // one thread of each core before any second one; else cores as a whole
	byCache  bool // as few last-level caches as possible
	balanced bool // several NUMA nodes, if they must be, give about as much each
	group    int  // with balanced: so many CPUs at a time
}

// A taking is a pick under way.
type taking struct {
	choice
	machine *topology.Machine
	free    cpuset.CPUSet
	need    int
	got     cpuset.CPUSet
}

// errShort tells that there are not as many free CPUs as are wanted.
func errShort(n int, free cpuset.CPUSet) error {
	return fmt.Errorf("not enough cpus available to satisfy request: requested=%d, available=%d", n, free.Size())
}

// take picks n of the free CPUs that lie close together and leave the rest as whole as possible.
func take(m *topology.Machine, free cpuset.CPUSet, n int, c choice) (cpuset.CPUSet, error) {
	if c.balanced && n%c.group == 0 {
		return takeBalanced(m, free, n, c)
	}
	return takePacked(m, free, n, c)
}

// takePacked takes whole NUMA nodes and sockets, caches if told to, cores, and then single CPUs, each from where
// least is left.
func takePacked(m *topology.Machine, free cpuset.CPUSet, n int, c choice) (cpuset.CPUSet, error) {
	t := &taking{choice: c, machine: m, free: free, need: n, got: cpuset.New()}
	if n > free.Size() {
		return cpuset.New(), errShort(n, free)
	}
	if t.nodesFirst() {
		t.takeWhole(t.nodes())
		t.takeWhole(t.sockets())
	} else {
		t.takeWhole(t.sockets())
		t.takeWhole(t.nodes())
	}
	if c.byCache {
		t.takeCaches()
	}
	if !c.spread {
		t.takeWhole(t.cores())
	}
	t.takeSingly()
	return t.got, nil
}

// levels lead from the largest groups of CPUs to those that are meant.
type levels []topology.Level

// nodesFirst reports whether a NUMA node holds sockets rather than the other way round.
func (t *taking) nodesFirst() bool { return t.machine.Sockets >= len(t.machine.NodeIDs()) }

func (t *taking) nodes() levels {
	if t.nodesFirst() {
		return levels{topology.ByNode}
	}
	return levels{topology.BySocket, topology.ByNode}
}

func (t *taking) sockets() levels {
	if t.nodesFirst() {
		return levels{topology.ByNode, topology.BySocket}
	}
	return levels{topology.BySocket}
}

func (t *taking) cores() levels {
	if t.nodesFirst() {
		return append(t.sockets(), topology.ByCore)
	}
	return append(t.nodes(), topology.ByCore)
}

// ranked returns the groups of the last level that have free CPUs: those of the larger group with fewest free ones
// first, and within it those with fewest themselves.
func (t *taking) ranked(by levels) []int { return t.rank(t.free, by) }

func (t *taking) rank(among cpuset.CPUSet, by levels) []int {
	groups := t.machine.Groups(by[0], among)
	left := map[int]int{}
	for _, g := range groups {
		left[g] = t.freeIn(by[0], g).Size()
	}
	slices.SortStableFunc(groups, func(a, b int) int { return left[a] - left[b] })
	if len(by) == 1 {
		return groups
	}
	var out []int
	for _, g := range groups {
		out = append(out, t.rank(t.freeIn(by[0], g), by[1:])...)
	}
	return out
}

func (t *taking) freeIn(by topology.Level, groups ...int) cpuset.CPUSet {
	return t.machine.In(by, groups...).Intersection(t.free)
}

func (t *taking) take(cpus cpuset.CPUSet) {
	t.got, t.free = t.got.Union(cpus), t.free.Difference(cpus)
	t.need -= cpus.Size()
}

// takeWhole takes groups of a level that are free as a whole and not larger than what is needed.
func (t *taking) takeWhole(by levels) {
	level := by[len(by)-1]
	for _, g := range t.ranked(by) {
		all := t.machine.In(level, g)
		if all.Size() <= t.need && t.freeIn(level, g).Size() == all.Size() {
			t.take(all)
		}
	}
}

// takeCaches takes whole caches, then from one that has what is still needed.
func (t *taking) takeCaches() {
	by := append(t.nodes(), topology.ByCache)
	for _, g := range t.ranked(by) {
		if t.need >= t.machine.CPUsPerCache() {
			t.takeWhole(by)
		}
		if t.need > 0 {
			t.takeFromCache(g)
		}
	}
}

// takeFromCache takes cores of one cache if those alone make up what is needed, an odd CPU included.
func (t *taking) takeFromCache(cache int) {
	perCore := max(t.machine.CPUsPerCore(), 1)
	cores := t.machine.Groups(topology.ByCore, t.freeIn(topology.ByCache, cache))
	cpus := t.freeIn(topology.ByCore, cores[:min(len(cores), (t.need+perCore-1)/perCore)]...)
	if t.need%2 != 0 && perCore > 1 && cpus.Size() > t.need {
		list := cpus.List()
		cpus = cpuset.New(list[:len(list)-1]...)
	}
	if cpus.Size() == t.need {
		t.take(cpus)
	}
}

// takeSingly takes what is still needed CPU by CPU.
func (t *taking) takeSingly() {
	by := t.cores()
	if t.spread {
		by = t.sockets()
	}
	for _, g := range t.ranked(by) {
		for _, cpu := range t.freeIn(by[len(by)-1], g).List() {
			if t.need > 0 {
				t.take(cpuset.New(cpu))
			}
		}
	}
}
