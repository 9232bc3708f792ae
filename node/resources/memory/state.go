package memory

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/node/resources/affinity"
	"clipper/node/resources/checkpoint"
)

// The types of the checkpoint are the kubelet's memory_manager_state in its first version.

// A Block is memory of a kind that a container has on a set of nodes.
type Block struct {
	NUMAAffinity []int               `json:"numaAffinity"`
	Type         corev1.ResourceName `json:"type"`
	Size         uint64              `json:"size"`
}

// A table is what there is of one kind of memory on a node.
type table struct {
	TotalMemSize   uint64 `json:"total"`
	SystemReserved uint64 `json:"systemReserved"`
	Allocatable    uint64 `json:"allocatable"`
	Reserved       uint64 `json:"reserved"`
	Free           uint64 `json:"free"`
}

// nodeState is a node's memory, how many blocks lie on it, and the group of nodes that it is part of.
type nodeState struct {
	NumberOfAssignments int                            `json:"numberOfAssignments"`
	MemoryMap           map[corev1.ResourceName]*table `json:"memoryMap"`
	Cells               []int                          `json:"cells"`
}

type nodes map[int]*nodeState

// free returns how much of a kind is free on a set of nodes.
func (n nodes) free(m affinity.Mask, name corev1.ResourceName) uint64 {
	return n.sum(m, name, func(t *table) uint64 { return t.Free })
}

func (n nodes) sum(m affinity.Mask, name corev1.ResourceName, of func(*table) uint64) uint64 {
	var total uint64
	for _, id := range m.Nodes() {
		if st := n[id]; st != nil && st.MemoryMap[name] != nil {
			total += of(st.MemoryMap[name])
		}
	}
	return total
}

// has reports whether a set of nodes has what is wanted.
func (n nodes) has(m affinity.Mask, want request) bool {
	for name, size := range want {
		if n.free(m, name) < size {
			return false
		}
	}
	return true
}

// ever reports whether a set of nodes would have what is wanted if it were all free.
func (n nodes) ever(m affinity.Mask, want request) bool {
	for name, size := range want {
		if n.sum(m, name, func(t *table) uint64 { return t.Allocatable }) < size {
			return false
		}
	}
	return true
}

// splits reports whether a set of several nodes would break up what is on one of them: containers of its own, or
// those of another group.
func (n nodes) splits(m affinity.Mask) bool {
	if m.Count() == 1 {
		return false
	}
	for _, id := range m.Nodes() {
		if st := n[id]; st.NumberOfAssignments > 0 && affinity.MaskOf(st.Cells...) != m {
			return true
		}
	}
	return false
}

// joined reports whether a single node is part of a group.
func (n nodes) joined(m affinity.Mask) bool {
	return m.Count() == 1 && len(n[m.Nodes()[0]].Cells) > 1
}

// take moves memory from free to reserved, on the first of the nodes as far as that has some.
func (n nodes) take(ids []int, name corev1.ResourceName, size uint64) {
	for _, id := range ids {
		st := n[id]
		st.NumberOfAssignments++
		st.Cells = ids
		if t := st.MemoryMap[name]; t != nil {
			part := min(t.Free, size)
			t.Reserved, t.Free, size = t.Reserved+part, t.Free-part, size-part
		}
	}
}

// give is take undone.
func (n nodes) give(b Block) {
	size := b.Size
	for _, id := range b.NUMAAffinity {
		st := n[id]
		if st.NumberOfAssignments--; st.NumberOfAssignments == 0 {
			st.Cells = []int{id}
		}
		if t := st.MemoryMap[b.Type]; t != nil {
			part := min(t.Reserved, size)
			t.Reserved, t.Free, size = t.Reserved-part, t.Free+part, size-part
		}
	}
}

// state is who has which memory. What is handed out is in the file before anybody uses it.
type state struct {
	file     string
	machine  nodes
	assigned map[types.UID]map[string][]Block
}

type stateFile struct {
	PolicyName   string                        `json:"policyName"`
	MachineState nodes                         `json:"machineState"`
	Entries      map[string]map[string][]Block `json:"entries,omitempty"`
	Checksum     checksum                      `json:"checksum"`
}

type checksum uint64

const policyName = "Static"

func (f *stateFile) sum() checksum {
	bare := *f
	bare.Checksum = 0
	entries := namedFile{bare.PolicyName, bare.MachineState, bare.Entries, 0}
	return checksum(checkpoint.Sum(&entries, "memory.namedFile", "state.MemoryManagerCheckpoint", "memory.nodes", "state.NUMANodeMap",
		"memory.nodeState", "state.NUMANodeState", "memory.table", "state.MemoryTable", "memory.assignments", "state.ContainerMemoryAssignments",
		"memory.Block", "state.Block", "memory.checksum", "checksum.Checksum"))
}

// namedFile is stateFile with a name for the assignments, which the checksum covers.
type namedFile struct {
	PolicyName   string
	MachineState nodes
	Entries      assignments
	Checksum     checksum
}

type assignments map[string]map[string][]Block

func (s *state) load(file string) error {
	s.file, s.assigned = file, map[types.UID]map[string][]Block{}
	f := stateFile{MachineState: nodes{}, Entries: map[string]map[string][]Block{}}
	found, err := checkpoint.Read(file, &f)
	if err != nil || !found {
		return err
	}
	switch {
	case f.Checksum != f.sum():
		err = errors.New("checkpoint is corrupted")
	case f.PolicyName != policyName:
		err = fmt.Errorf("[memorymanager] configured policy %q differs from state checkpoint policy %q", policyName, f.PolicyName)
	}
	if err != nil {
		return fmt.Errorf("could not restore state from checkpoint: %w, please drain this node and delete the memory manager checkpoint file %q before restarting Kubelet", err, file)
	}
	s.machine = f.MachineState
	for pod, containers := range f.Entries {
		s.assigned[types.UID(pod)] = containers
	}
	return nil
}

func (s *state) save() error {
	f := stateFile{PolicyName: policyName, MachineState: s.machine, Entries: map[string]map[string][]Block{}}
	for pod, containers := range s.assigned {
		f.Entries[string(pod)] = containers
	}
	f.Checksum = f.sum()
	return checkpoint.Write(s.file, &f)
}

func (s *state) of(pod types.UID, container string) ([]Block, bool) {
	blocks, ok := s.assigned[pod][container]
	return blocks, ok
}

func (s *state) set(pod types.UID, container string, blocks []Block) {
	if s.assigned[pod] == nil {
		s.assigned[pod] = map[string][]Block{}
	}
	s.assigned[pod][container] = blocks
}

func (s *state) release(pod types.UID) error {
	containers, ok := s.assigned[pod]
	if !ok {
		return nil
	}
	for _, blocks := range containers {
		for _, b := range blocks {
			s.machine.give(b)
		}
	}
	delete(s.assigned, pod)
	return s.save()
}

// check compares the state with the machine and what is reserved, which may have changed since. A new one begins with
// nothing handed out.
func (p *Static) check() error {
	s := &p.state
	if len(s.machine) == 0 {
		if len(s.assigned) > 0 {
			return errors.New("[memorymanager] machine state can not be empty when it has memory assignments")
		}
		s.machine = p.fresh()
		return s.save()
	}
	want := p.fresh()
	for pod, containers := range s.assigned {
		for name, blocks := range containers {
			for _, b := range blocks {
				if err := want.holds(b); err != nil {
					return fmt.Errorf("[memorymanager] (pod: %s, container: %s) %w", pod, name, err)
				}
				want.take(b.NUMAAffinity, b.Type, b.Size)
			}
		}
	}
	if !s.machine.same(want) {
		return errors.New("[memorymanager] the expected machine state is different from the real one")
	}
	return nil
}

func (n nodes) holds(b Block) error {
	for _, id := range b.NUMAAffinity {
		if n[id] == nil {
			return errors.New("the memory assignment uses the NUMA that does not exist")
		}
		if n[id].MemoryMap[b.Type] == nil {
			return errors.New("the memory assignment uses memory resource that does not exist")
		}
	}
	return nil
}

// same compares nodes as far as it must be alike: within a group memory may have been taken from one or the other.
func (n nodes) same(other nodes) bool {
	if len(n) != len(other) {
		return false
	}
	for id, a := range n {
		b := other[id]
		if a == nil || b == nil || a.NumberOfAssignments != b.NumberOfAssignments || len(a.MemoryMap) != len(b.MemoryMap) ||
			affinity.MaskOf(a.Cells...) != affinity.MaskOf(b.Cells...) || slices.ContainsFunc(a.Cells, func(c int) bool { return n[c] == nil }) {
			return false
		}
		group := affinity.MaskOf(a.Cells...)
		for name, x := range a.MemoryMap {
			y := b.MemoryMap[name]
			if x == nil || y == nil || x.TotalMemSize != y.TotalMemSize || x.SystemReserved != y.SystemReserved || x.Allocatable != y.Allocatable {
				return false
			}
			reserved := func(t *table) uint64 { return t.Reserved }
			if n.free(group, name) != other.free(group, name) || n.sum(group, name, reserved) != other.sum(group, name, reserved) {
				return false
			}
		}
	}
	return true
}
