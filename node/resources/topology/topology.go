// Package topology knows how a machine is laid out: which CPUs share a core, a last-level cache, a NUMA node, a
// socket; how much memory each NUMA node has and how far the nodes are from each other. Read looks at the machine, by
// the kernel's files below /sys; the rest is pure.
package topology

import (
	"slices"

	"k8s.io/utils/cpuset"
)

// A Machine is the layout of a machine.
type Machine struct {
	CPUs    map[int]CPU // by number; those that are online
	Nodes   []Node      // by ascending number; at least one
	Sockets int
	Cores   int
}

// A CPU is where a logical CPU lies. A core goes by its lowest CPU, so that cores of different sockets differ; a
// cache by the kernel's number, and by the socket's where no cache is shared by less than the whole node.
type CPU struct{ Node, Socket, Core, Cache int }

// A Node is a NUMA node.
type Node struct {
	ID        int
	Memory    uint64     // bytes
	HugePages []HugePage // by ascending size
	Distances []uint64   // to each node, in the order of the nodes; may be missing
}

// A HugePage is how many pages of a size a node has.
type HugePage struct{ Size, Count uint64 } // bytes

// A Level is what CPUs are grouped by.
type Level func(CPU) int

// The levels of a machine.
var (
	ByNode   Level = func(c CPU) int { return c.Node }
	BySocket Level = func(c CPU) int { return c.Socket }
	ByCore   Level = func(c CPU) int { return c.Core }
	ByCache  Level = func(c CPU) int { return c.Cache }
)

// All returns every CPU.
func (m *Machine) All() cpuset.CPUSet {
	cpus := make([]int, 0, len(m.CPUs))
	for cpu := range m.CPUs {
		cpus = append(cpus, cpu)
	}
	return cpuset.New(cpus...)
}

// In returns the CPUs of the groups of a level.
func (m *Machine) In(by Level, groups ...int) cpuset.CPUSet {
	var cpus []int
	for cpu, where := range m.CPUs {
		if slices.Contains(groups, by(where)) {
			cpus = append(cpus, cpu)
		}
	}
	return cpuset.New(cpus...)
}

// Groups returns the groups of a level that CPUs belong to, in ascending order.
func (m *Machine) Groups(by Level, cpus cpuset.CPUSet) []int {
	found := map[int]bool{}
	var out []int
	for _, cpu := range cpus.UnsortedList() {
		where, ok := m.CPUs[cpu]
		if g := by(where); ok && !found[g] {
			found[g] = true
			out = append(out, g)
		}
	}
	slices.Sort(out)
	return out
}

// CPUsPerCore returns how many CPUs share a core.
func (m *Machine) CPUsPerCore() int { return len(m.CPUs) / max(m.Cores, 1) }

// CPUsPerSocket returns how many CPUs share a socket.
func (m *Machine) CPUsPerSocket() int { return len(m.CPUs) / max(m.Sockets, 1) }

// CPUsPerCache returns how many CPUs share a last-level cache.
func (m *Machine) CPUsPerCache() int { return len(m.CPUs) / max(len(m.Groups(ByCache, m.All())), 1) }

// NodeIDs returns the numbers of the NUMA nodes that have CPUs, in ascending order.
func (m *Machine) NodeIDs() []int { return m.Groups(ByNode, m.All()) }
