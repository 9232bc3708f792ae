// Package affinity decides on which NUMA nodes a container's CPUs, memory and devices should lie together: what the
// kubelet calls its topology manager. Whoever hands out one of them says which sets of nodes would do for it, its
// hints, and which of those it prefers. Merge finds the set that suits all; the policy says whether a container that
// cannot have such a set is refused. Everything here is pure.
package affinity

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"clipper/node/resources/topology"
)

// A Hint is a set of NUMA nodes from which a resource can be taken.
type Hint struct {
	Nodes     Mask // none: any will do
	Preferred bool // it is as narrow as it can be
}

// Hints are a resource's hints by its name. Nil ones mean that it has no preference, empty ones that it cannot be had.
type Hints map[string][]Hint

// Policies, as in the settings.
const (
	None           = "none"
	BestEffort     = "best-effort"
	Restricted     = "restricted"
	SingleNUMANode = "single-numa-node"
)

// A Policy merges hints. The zero value is that of a node without one: no hints are asked for.
type Policy struct {
	name    string
	nodes   []topology.Node
	all     Mask
	closest bool // of sets of one size, prefer that whose nodes are closest to each other
}

// defaultMaxNodes is with how many NUMA nodes a policy works unless told otherwise: the sets grow by 2 to their power.
const defaultMaxNodes = 8

// NewPolicy returns the policy of a name with its options on a machine. Errors are the kubelet's.
func NewPolicy(name string, options map[string]string, machine *topology.Machine) (Policy, error) {
	p := Policy{name: name, nodes: machine.Nodes}
	if name == None || name == "" {
		return Policy{name: None}, nil
	}
	most := defaultMaxNodes
	for _, option := range slices.Sorted(maps.Keys(options)) {
		var err error
		switch value := options[option]; option {
		case "prefer-closest-numa-nodes":
			if p.closest, err = strconv.ParseBool(value); err != nil {
				return p, fmt.Errorf("bad value for option %q: %w", option, err)
			}
		case "max-allowable-numa-nodes":
			if most, err = strconv.Atoi(value); err != nil {
				return p, fmt.Errorf("unable to convert policy option to integer %q: %w", option, err)
			}
			if most < defaultMaxNodes {
				return p, fmt.Errorf("the minimum value of %q should not be less than %v", option, defaultMaxNodes)
			}
		default:
			return p, fmt.Errorf("unknown Topology Manager Policy option: %q", option)
		}
	}
	if len(machine.Nodes) > min(most, MaxNodes) {
		return p, fmt.Errorf("unsupported on machines with more than %v NUMA Nodes", min(most, MaxNodes))
	}
	for _, n := range machine.Nodes {
		p.all |= MaskOf(n.ID)
	}
	switch name {
	case BestEffort, Restricted, SingleNUMANode:
		return p, nil
	}
	return p, fmt.Errorf("unknown policy: %q", name)
}

// Name returns the policy's name.
func (p *Policy) Name() string { return p.name }

// Aligns reports whether hints are to be asked for at all.
func (p *Policy) Aligns() bool { return p.name != None && p.name != "" }

// Merge returns the set that suits the hints of all who gave some best, and whether a container may have it.
func (p *Policy) Merge(given []Hints) (Hint, bool) {
	choices := flatten(given)
	if p.name == SingleNUMANode {
		choices = singleNode(choices)
	}
	best := p.best(choices)
	if p.name == SingleNUMANode && best.Nodes == p.all {
		best.Nodes = 0
	}
	return best, p.name == BestEffort || best.Preferred
}

// flatten lists the choices for each resource, those without a preference included.
func flatten(given []Hints) [][]Hint {
	var out [][]Hint
	for _, hints := range given {
		if len(hints) == 0 {
			out = append(out, []Hint{{Preferred: true}})
		}
		for _, name := range slices.Sorted(maps.Keys(hints)) {
			switch list := hints[name]; {
			case list == nil:
				out = append(out, []Hint{{Preferred: true}})
			case len(list) == 0:
				out = append(out, []Hint{{}})
			default:
				out = append(out, list)
			}
		}
	}
	return out
}

// singleNode keeps what fits onto one node.
func singleNode(choices [][]Hint) [][]Hint {
	out := make([][]Hint, len(choices))
	for i, list := range choices {
		for _, h := range list {
			if h.Preferred && h.Nodes.Count() <= 1 {
				out[i] = append(out[i], h)
			}
		}
	}
	return out
}

// best takes one choice for each resource in every possible way, and returns the best of the sets that the choices
// have in common. The ways are many, 255 to the power of the resources on eight nodes; what they have in common is
// one of few sets, so those are followed instead.
func (p *Policy) best(choices [][]Hint) Hint {
	common := map[Hint]bool{{Nodes: p.all, Preferred: true}: true}
	named := false // a resource before had a preference
	for _, list := range choices {
		next := map[Hint]bool{}
		for have := range common {
			for _, h := range list {
				next[p.both(have, h, named)] = true
			}
		}
		common = next
		for _, h := range list {
			named = named || h.Nodes != 0
		}
	}
	order := p.order(choices)
	best := Hint{}
	for h := range common {
		if h.Nodes != 0 && (best.Nodes == 0 || order(h, best)) {
			best = h
		}
	}
	if best.Nodes == 0 {
		return Hint{Nodes: p.all}
	}
	return best
}

// both adds a choice to what those before have in common. It is preferred as long as all prefer the same.
func (p *Policy) both(have, h Hint, named bool) Hint {
	if h.Nodes == 0 {
		return Hint{have.Nodes, have.Preferred && h.Preferred}
	}
	same := have.Nodes == h.Nodes || !named
	return Hint{have.Nodes & h.Nodes, have.Preferred && h.Preferred && same}
}

// order returns whether one set is better than another. What is preferred is; then what is as wide as the resource
// that needs most nodes; then what is less wide, by little first: no better for anyone, but it leaves others more.
func (p *Policy) order(choices [][]Hint) func(a, b Hint) bool {
	wanted := widest(choices)
	return func(a, b Hint) bool {
		if a.Preferred != b.Preferred {
			return a.Preferred
		}
		if a.Preferred {
			return p.closer(a.Nodes, b.Nodes)
		}
		if x, y := rank(a, wanted), rank(b, wanted); x != y {
			return x < y
		}
		return p.closer(a.Nodes, b.Nodes)
	}
}

func rank(h Hint, wanted int) int {
	if n := h.Nodes.Count(); n <= wanted {
		return wanted - n
	}
	return h.Nodes.Count()
}

// widest returns the size of the narrowest set of that resource whose narrowest set is widest.
func widest(choices [][]Hint) int {
	most := 0
	for _, list := range choices {
		least := 0
		for _, h := range list {
			if n := h.Nodes.Count(); n > 0 && (least == 0 || n < least) {
				least = n
			}
		}
		most = max(most, least)
	}
	return most
}

// closer reports whether a is better than b as far as their nodes go.
func (p *Policy) closer(a, b Mask) bool {
	if p.closest && p.name != SingleNUMANode && a.Count() == b.Count() {
		if x, y := p.distance(a), p.distance(b); x != y {
			return x < y
		}
	}
	return a.Narrower(b)
}

// distance returns how far the nodes of a set are from each other on average.
func (p *Policy) distance(m Mask) float64 {
	sum, count := 0.0, 0
	for _, from := range p.nodes {
		for i, to := range p.nodes {
			if m.Has(from.ID) && m.Has(to.ID) && i < len(from.Distances) {
				sum, count = sum+float64(from.Distances[i]), count+1
			}
		}
	}
	return sum / float64(max(count, 1))
}
