package affinity

import (
	"math/bits"
	"strconv"
	"strings"
)

// A Mask is a set of NUMA nodes, by their numbers; none of them stands for no preference.
type Mask uint64

// MaxNodes is how many NUMA nodes a mask can tell apart.
const MaxNodes = 64

// MaskOf returns the set of some nodes.
func MaskOf(nodes ...int) Mask {
	var m Mask
	for _, n := range nodes {
		m |= 1 << n
	}
	return m
}

// Count returns how many nodes are in the set.
func (m Mask) Count() int { return bits.OnesCount64(uint64(m)) }

// Has reports whether a node is in the set.
func (m Mask) Has(node int) bool { return node >= 0 && node < MaxNodes && m&(1<<node) != 0 }

// Nodes returns the nodes of the set in ascending order.
func (m Mask) Nodes() []int {
	out := make([]int, 0, m.Count())
	for rest := uint64(m); rest != 0; rest &= rest - 1 {
		out = append(out, bits.TrailingZeros64(rest))
	}
	return out
}

// Narrower reports whether m is to be preferred to other where fewer nodes are better: of two of the same size, the
// one of the lower nodes is.
func (m Mask) Narrower(other Mask) bool {
	if m.Count() != other.Count() {
		return m.Count() < other.Count()
	}
	return m < other
}

// String returns the nodes as a list, {0,1}.
func (m Mask) String() string {
	var list []string
	for _, n := range m.Nodes() {
		list = append(list, strconv.Itoa(n))
	}
	return "{" + strings.Join(list, ",") + "}"
}

// Combinations calls visit with every set of at least one of the nodes: small sets first, and of one size those of
// the earlier nodes.
func Combinations(nodes []int, visit func(Mask)) {
	for size := 1; size <= len(nodes); size++ {
		combine(nodes, size, 0, visit)
	}
}

func combine(nodes []int, size int, chosen Mask, visit func(Mask)) {
	if size == 0 {
		visit(chosen)
		return
	}
	for i := 0; i+size <= len(nodes); i++ {
		combine(nodes[i+1:], size-1, chosen|1<<nodes[i], visit)
	}
}
