// Package memory hands out memory and huge pages by NUMA node: what the kubelet calls its memory manager, with the
// policy Static. Each container of a guaranteed pod gets its memory reserved on a set of nodes, and may use no others.
// A node serves either containers of its own or those of one group of several nodes, never both: else neither could
// count on what it has been promised.
package memory

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	helpers "k8s.io/component-helpers/resource"
	"k8s.io/kubelet/config/v1beta1"

	"clipper/node/cgroup"
	"clipper/node/resources/affinity"
	"clipper/node/resources/topology"
)

// Static is the policy Static. It is for one goroutine at a time.
type Static struct {
	machine  *topology.Machine
	reserved map[int]map[corev1.ResourceName]uint64 // from pods, by node
	state    state
	reuse    map[types.UID]map[kept]uint64 // of init containers that will have ended
}

// kept is what an init container leaves to later ones: memory of a kind on a set of nodes.
type kept struct {
	nodes affinity.Mask
	kind  corev1.ResourceName
}

// A request is how much of what a container asks for.
type request map[corev1.ResourceName]uint64

// Settings say how a Static is made.
type Settings struct {
	Machine *topology.Machine
	// Reserved is what is kept from pods as a whole, and ByNode how that is spread over the nodes.
	Reserved corev1.ResourceList
	ByNode   []v1beta1.MemoryReservation
	File     string // of the checkpoint
}

// New returns the policy with what its checkpoint says. Errors are the kubelet's.
func New(s Settings) (*Static, error) {
	p := &Static{machine: s.Machine, reuse: map[types.UID]map[kept]uint64{}}
	if err := p.reserve(s.Reserved, s.ByNode); err != nil {
		return nil, err
	}
	if err := p.state.load(s.File); err != nil {
		return nil, err
	}
	return p, p.check()
}

// reserve spreads the reservation over the nodes; the parts must make up the whole.
func (p *Static) reserve(whole corev1.ResourceList, parts []v1beta1.MemoryReservation) error {
	p.reserved = map[int]map[corev1.ResourceName]uint64{}
	for _, n := range p.machine.Nodes {
		p.reserved[n.ID] = map[corev1.ResourceName]uint64{}
	}
	total := corev1.ResourceList{}
	for _, part := range parts {
		node := p.reserved[int(part.NumaNode)]
		if node == nil {
			return fmt.Errorf("the reserved memory configuration references a NUMA node %d that does not exist on this machine", part.NumaNode)
		}
		for name, q := range part.Limits {
			sum := total[name]
			sum.Add(q)
			total[name] = sum
			node[name] = uint64(q.Value())
		}
	}
	names := maps.Clone(total)
	maps.Copy(names, whole)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if want, have := whole[name], total[name]; isMemory(name) && !want.Equal(have) {
			return fmt.Errorf("the total amount %q of type %q is not equal to the value %q determined by Node Allocatable feature", have.String(), name, want.String())
		}
	}
	if q := total[corev1.ResourceMemory]; q.Sign() <= 0 {
		return errors.New("[memorymanager] you should specify the system reserved memory")
	}
	return nil
}

func isMemory(name corev1.ResourceName) bool {
	return name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// manages reports whether a pod's containers get memory reserved.
func manages(pod *corev1.Pod) bool {
	return cgroup.QOS(pod) == corev1.PodQOSGuaranteed && !helpers.IsPodLevelResourcesSet(pod)
}

// Wants reports whether a pod is to have memory for itself.
func (p *Static) Wants(pod *corev1.Pod) bool { return manages(pod) }

func requestOf(c *corev1.Container) request {
	out := request{}
	for name, q := range c.Resources.Requests {
		if isMemory(name) {
			out[name] = uint64(q.Value())
		}
	}
	return out
}

// requestOfPod returns what a pod's containers need at most at one time.
func requestOfPod(pod *corev1.Pod) request {
	starting, sidecars, out := request{}, request{}, request{}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		for name, n := range requestOf(c) {
			if restartable(c) {
				sidecars[name] += n
			} else {
				starting[name] = max(starting[name], sidecars[name]+n)
			}
		}
	}
	for i := range pod.Spec.Containers {
		for name, n := range requestOf(&pod.Spec.Containers[i]) {
			out[name] += n
		}
	}
	for name := range out {
		out[name] = max(out[name]+sidecars[name], starting[name])
	}
	return out
}

func restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// Allocate reserves a container's memory, on the nodes of hint if those have enough.
func (p *Static) Allocate(pod *corev1.Pod, c *corev1.Container, hint affinity.Hint) error {
	if !manages(pod) {
		return nil
	}
	blocks, ok := p.state.of(pod.UID, c.Name)
	if !ok {
		want := requestOf(c)
		nodes, err := p.choose(pod.UID, want, hint)
		if err != nil {
			return err
		}
		if blocks, err = p.assign(pod, c, want, nodes); err != nil {
			return err
		}
	}
	p.remember(pod, c, blocks)
	return nil
}

// choose returns the nodes that a request is served from: those of hint, more of them if need be, any without one.
func (p *Static) choose(pod types.UID, want request, hint affinity.Hint) (affinity.Mask, error) {
	if hint.Nodes == 0 {
		list := p.hints(pod, want)
		if len(list) == 0 {
			return 0, errors.New("[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available")
		}
		best := bestOf(list[string(corev1.ResourceMemory)])
		if !best.Preferred && hint.Preferred {
			return 0, errors.New("[memorymanager] failed to find the default preferred hint")
		}
		hint = best
	}
	if !p.state.machine.has(hint.Nodes, want) {
		var wider []affinity.Hint
		for _, h := range p.hints(pod, want)[string(corev1.ResourceMemory)] {
			if h.Nodes&hint.Nodes == hint.Nodes {
				wider = append(wider, h)
			}
		}
		if len(wider) == 0 {
			return 0, errors.New("[memorymanager] failed to find NUMA nodes to extend the current topology hint")
		}
		best := bestOf(wider)
		if !best.Preferred && hint.Preferred {
			return 0, errors.New("[memorymanager] failed to find the extended preferred hint")
		}
		hint = best
	}
	if p.state.machine.splits(hint.Nodes) {
		return 0, errors.New("[memorymanager] preferred hint violates NUMA node allocation")
	}
	return hint.Nodes, nil
}

func bestOf(list []affinity.Hint) affinity.Hint {
	var best affinity.Hint
	for _, h := range list {
		if best.Nodes == 0 || h.Preferred && !best.Preferred || h.Preferred == best.Preferred && h.Nodes.Narrower(best.Nodes) {
			best = h
		}
	}
	return best
}

// assign takes what is wanted from the nodes, but for what the pod's init containers leave.
func (p *Static) assign(pod *corev1.Pod, c *corev1.Container, want request, nodes affinity.Mask) ([]Block, error) {
	blocks := []Block{}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		blocks = append(blocks, Block{NUMAAffinity: nodes.Nodes(), Type: name, Size: want[name]})
		p.state.machine.take(nodes.Nodes(), name, want[name]-min(want[name], p.reuse[pod.UID][kept{nodes, name}]))
	}
	p.state.set(pod.UID, c.Name, blocks)
	p.shrinkInit(pod, c, blocks)
	return blocks, p.state.save()
}

// shrinkInit takes from a pod's init containers what a later container uses again, so that nothing counts twice.
func (p *Static) shrinkInit(pod *corev1.Pod, c *corev1.Container, blocks []Block) {
	for _, b := range blocks {
		left := b.Size
		for i := range pod.Spec.InitContainers {
			init := &pod.Spec.InitContainers[i]
			if init.Name == c.Name {
				break
			}
			if restartable(init) {
				continue
			}
			has, _ := p.state.of(pod.UID, init.Name)
			for j := range has {
				if has[j].Type == b.Type && affinity.MaskOf(has[j].NUMAAffinity...) == affinity.MaskOf(b.NUMAAffinity...) {
					shared := min(has[j].Size, left)
					has[j].Size, left = has[j].Size-shared, left-shared
				}
			}
		}
	}
}

// remember notes what an init container leaves, or what another one takes of that.
func (p *Static) remember(pod *corev1.Pod, c *corev1.Container, blocks []Block) {
	if p.reuse[pod.UID] == nil {
		p.reuse[pod.UID] = map[kept]uint64{}
	}
	left := p.reuse[pod.UID]
	init := slices.ContainsFunc(pod.Spec.InitContainers, func(i corev1.Container) bool { return i.Name == c.Name && !restartable(&i) })
	for _, b := range blocks {
		k := kept{affinity.MaskOf(b.NUMAAffinity...), b.Type}
		if init {
			left[k] = max(left[k], b.Size)
		} else {
			left[k] -= min(left[k], b.Size)
		}
	}
}

// Settled tells that all containers of a pod have been allocated for.
func (p *Static) Settled(pod types.UID) { delete(p.reuse, pod) }

// Release takes back what a pod's containers have.
func (p *Static) Release(pod types.UID) error {
	delete(p.reuse, pod)
	return p.state.release(pod)
}

// Holders are the pods that have memory.
func (p *Static) Holders() []types.UID { return slices.Collect(maps.Keys(p.state.assigned)) }

// Of returns what a container has.
func (p *Static) Of(pod types.UID, container string) []Block {
	blocks, _ := p.state.of(pod, container)
	return blocks
}

// Nodes returns the nodes that a container may use memory of; none stands for all.
func (p *Static) Nodes(pod types.UID, container string) affinity.Mask {
	var m affinity.Mask
	for _, b := range p.Of(pod, container) {
		m |= affinity.MaskOf(b.NUMAAffinity...)
	}
	return m
}

// Allocatable lists what can be handed out at all.
func (p *Static) Allocatable() []Block {
	var out []Block
	for _, id := range slices.Sorted(maps.Keys(p.state.machine)) {
		tables := p.state.machine[id].MemoryMap
		for _, name := range slices.Sorted(maps.Keys(tables)) {
			if n := tables[name].Allocatable; n > 0 {
				out = append(out, Block{NUMAAffinity: []int{id}, Type: name, Size: n})
			}
		}
	}
	return out
}

// fresh returns the nodes with nothing handed out.
func (p *Static) fresh() nodes {
	out := nodes{}
	for _, n := range p.machine.Nodes {
		st := &nodeState{MemoryMap: map[corev1.ResourceName]*table{}, Cells: []int{n.ID}}
		memory := n.Memory
		for _, h := range n.HugePages {
			name := corev1.ResourceName(corev1.ResourceHugePagesPrefix + resource.NewQuantity(int64(h.Size), resource.BinarySI).String())
			st.MemoryMap[name] = newTable(h.Size*h.Count, 0, p.reserved[n.ID][name])
			memory -= min(memory, h.Size*h.Count)
		}
		st.MemoryMap[corev1.ResourceMemory] = newTable(n.Memory, n.Memory-memory, p.reserved[n.ID][corev1.ResourceMemory])
		out[n.ID] = st
	}
	return out
}

func newTable(total, elsewhere, reserved uint64) *table {
	free := total - min(total, elsewhere+reserved)
	return &table{TotalMemSize: total, SystemReserved: reserved, Allocatable: free, Free: free}
}
