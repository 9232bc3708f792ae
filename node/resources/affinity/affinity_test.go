package affinity

import (
	"fmt"
	"testing"

	"clipper/node/resources/topology"
)

func machine(nodes int, distances ...[]uint64) *topology.Machine {
	m := &topology.Machine{CPUs: map[int]topology.CPU{}}
	for i := range nodes {
		n := topology.Node{ID: i}
		if i < len(distances) {
			n.Distances = distances[i]
		}
		m.Nodes = append(m.Nodes, n)
		m.CPUs[i] = topology.CPU{Node: i, Socket: i, Core: i}
	}
	return m
}

func on(preferred bool, nodes ...int) Hint { return Hint{MaskOf(nodes...), preferred} }

func TestMerge(t *testing.T) {
	either := []Hint{on(true, 0), on(true, 1), on(false, 0, 1)}
	both := []Hint{on(true, 0, 1)}
	for _, c := range []struct {
		name   string
		hints  []Hints
		best   map[string]Hint // by policy
		admits map[string]bool
	}{
		{"nobody cares", []Hints{nil, {"r": nil}}, map[string]Hint{BestEffort: on(true, 0, 1), Restricted: on(true, 0, 1), SingleNUMANode: on(true)},
			map[string]bool{BestEffort: true, Restricted: true, SingleNUMANode: true}},
		{"the same for all", []Hints{{"cpu": either}, {"gpu": {on(true, 1), on(false, 0, 1)}}},
			map[string]Hint{BestEffort: on(true, 1), Restricted: on(true, 1), SingleNUMANode: on(true, 1)},
			map[string]bool{BestEffort: true, Restricted: true, SingleNUMANode: true}},
		{"nothing in common", []Hints{{"cpu": {on(true, 0)}}, {"gpu": {on(true, 1)}}},
			map[string]Hint{BestEffort: on(false, 0, 1), Restricted: on(false, 0, 1), SingleNUMANode: on(false)},
			map[string]bool{BestEffort: true}},
		{"one needs both nodes", []Hints{{"cpu": both}},
			map[string]Hint{BestEffort: on(true, 0, 1), Restricted: on(true, 0, 1), SingleNUMANode: on(false)},
			map[string]bool{BestEffort: true, Restricted: true}},
		{"one cannot be had", []Hints{{"cpu": either}, {"gpu": {}}},
			map[string]Hint{BestEffort: on(false, 0), Restricted: on(false, 0), SingleNUMANode: on(false)},
			map[string]bool{BestEffort: true}},
	} {
		for name, want := range c.best {
			p, err := NewPolicy(name, nil, machine(2))
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := p.Merge(c.hints); got != want || ok != c.admits[name] {
				t.Errorf("%s, %s: %v %v, want %v %v", c.name, name, got, ok, want, c.admits[name])
			}
		}
	}
}

func TestClosestNodes(t *testing.T) {
	m := machine(4, []uint64{10, 30, 12, 30}, []uint64{30, 10, 30, 11}, []uint64{12, 30, 10, 30}, []uint64{30, 11, 30, 10})
	pairs := []Hint{on(true, 0, 1), on(true, 0, 2), on(true, 1, 3)}
	for closest, want := range map[string]Hint{"false": on(true, 0, 1), "true": on(true, 1, 3)} {
		p, err := NewPolicy(BestEffort, map[string]string{"prefer-closest-numa-nodes": closest}, m)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := p.Merge([]Hints{{"cpu": pairs}}); got != want {
			t.Errorf("closest %s: %v, want %v", closest, got, want)
		}
	}
}

// Four resources on eight nodes have 4 billion combinations, and answers all the same.
func TestMergeOfManyIsQuick(t *testing.T) {
	p, err := NewPolicy(Restricted, nil, machine(8))
	if err != nil {
		t.Fatal(err)
	}
	var given []Hints
	for i := range 4 {
		var list []Hint
		Combinations([]int{0, 1, 2, 3, 4, 5, 6, 7}, func(m Mask) { list = append(list, Hint{m, m.Count() == 2 && m.Has(5)}) })
		given = append(given, Hints{fmt.Sprint(i): list})
	}
	if got, ok := p.Merge(given); got != on(true, 0, 5) || !ok {
		t.Errorf("got %v %v", got, ok)
	}
}

func TestPolicyRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		options map[string]string
		nodes   int
		want    string
	}{
		{"odd", nil, 1, `unknown policy: "odd"`},
		{BestEffort, map[string]string{"x": "y"}, 1, `unknown Topology Manager Policy option: "x"`},
		{BestEffort, map[string]string{"max-allowable-numa-nodes": "4"}, 1, `the minimum value of "max-allowable-numa-nodes" should not be less than 8`},
		{BestEffort, nil, 9, "unsupported on machines with more than 8 NUMA Nodes"},
	} {
		if _, err := NewPolicy(c.name, c.options, machine(c.nodes)); err == nil || err.Error() != c.want {
			t.Errorf("%s %v: %v, want %s", c.name, c.options, err, c.want)
		}
	}
	if _, err := NewPolicy(BestEffort, map[string]string{"max-allowable-numa-nodes": "9"}, machine(9)); err != nil {
		t.Error(err)
	}
}

func TestMask(t *testing.T) {
	var seen []string
	Combinations([]int{0, 2, 5}, func(m Mask) { seen = append(seen, m.String()) })
	if got := fmt.Sprint(seen); got != "[{0} {2} {5} {0,2} {0,5} {2,5} {0,2,5}]" {
		t.Error(got)
	}
	if !MaskOf(3).Narrower(MaskOf(0, 1)) || !MaskOf(0).Narrower(MaskOf(1)) || MaskOf(1).Narrower(MaskOf(1)) {
		t.Error("order of masks")
	}
}
