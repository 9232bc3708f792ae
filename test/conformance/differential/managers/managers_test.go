// Package managers compares what the node hands out with what the kubelet's managers hand out: the same machines, the
// same pods, the same order. The machines are made up, and more of them than anybody owns.
package managers

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-logr/logr"
	cadvisor "github.com/google/cadvisor/info/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/kubelet/config/v1beta1"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	cpustate "k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/state"
	cputopology "k8s.io/kubernetes/pkg/kubelet/cm/cpumanager/topology"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	memorystate "k8s.io/kubernetes/pkg/kubelet/cm/memorymanager/state"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager/bitmask"
	"k8s.io/utils/cpuset"
	"k8s.io/utils/ptr"

	"clipper/node/resources/affinity"
	"clipper/node/resources/cpu"
	"clipper/node/resources/memory"
	"clipper/node/resources/topology"
)

var log = logr.Discard()

// layout makes a machine, as we and as cAdvisor see it.
func layout(r *rand.Rand) (*topology.Machine, *cadvisor.MachineInfo) {
	sockets, perSocket, caches, cores, threads := 1+r.IntN(3), 1+r.IntN(2), 1+r.IntN(2), 1+r.IntN(4), 1+r.IntN(2)
	if sockets*perSocket > 4 {
		perSocket = 1
	}
	oneNode := r.IntN(6) == 0 // a machine that hides its NUMA nodes
	all := sockets * perSocket * caches * cores
	ours := &topology.Machine{CPUs: map[int]topology.CPU{}, Sockets: sockets, Cores: all}
	theirs := &cadvisor.MachineInfo{NumCores: all * threads, NumSockets: sockets}
	total := sockets * perSocket
	if oneNode {
		total = 1
	}
	const GiB = 1 << 30
	for id := range total {
		n := topology.Node{ID: id, Memory: uint64(2+r.IntN(6)) * GiB}
		for other := range total {
			d := uint64(10)
			if other != id {
				d = 11 + uint64((id+other)%3)*10
			}
			n.Distances = append(n.Distances, d)
		}
		if r.IntN(2) == 0 {
			n.HugePages = []topology.HugePage{{Size: 2 << 20, Count: 256}}
		}
		if len(ours.Nodes) > 0 {
			n.HugePages = ours.Nodes[0].HugePages
		}
		ours.Nodes = append(ours.Nodes, n)
		node := cadvisor.Node{Id: id, Memory: n.Memory, Distances: n.Distances}
		for _, h := range n.HugePages {
			node.HugePages = append(node.HugePages, cadvisor.HugePagesInfo{PageSize: h.Size >> 10, NumPages: h.Count})
		}
		theirs.Topology = append(theirs.Topology, node)
	}
	for core := range all {
		cache, node, socket := core/cores, core/(cores*caches), core/(cores*caches*perSocket)
		if oneNode {
			node = 0
		}
		at := topology.CPU{Node: node, Socket: socket, Core: core, Cache: socket}
		c := cadvisor.Core{Id: core, SocketID: socket}
		if caches > 1 {
			at.Cache = cache
			c.UncoreCaches = []cadvisor.Cache{{Id: cache}}
		}
		for t := range threads {
			ours.CPUs[core+t*all] = at
			c.Threads = append(c.Threads, core+t*all)
		}
		theirs.Topology[node].Cores = append(theirs.Topology[node].Cores, c)
	}
	return ours, theirs
}

func quantities(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

// somePod makes a pod that is guaranteed, as a rule.
func somePod(r *rand.Rand, n int, huge bool) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.UID = fmt.Sprint("p", n), types.UID(fmt.Sprint("uid", n))
	container := func(name string) corev1.Container {
		cpus := fmt.Sprint(1 + r.IntN(6))
		if r.IntN(5) == 0 {
			cpus = "1500m"
		}
		list := quantities("cpu", cpus, "memory", fmt.Sprintf("%dMi", 256*(1+r.IntN(12))))
		if huge && r.IntN(3) == 0 {
			maps.Copy(list, quantities("hugepages-2Mi", fmt.Sprintf("%dMi", 64*(1+r.IntN(4)))))
		}
		c := corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}}
		if r.IntN(12) == 0 {
			delete(c.Resources.Limits, "memory") // burstable
		}
		return c
	}
	for i := range r.IntN(3) {
		c := container(fmt.Sprint("i", i))
		if r.IntN(3) == 0 {
			c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
	for i := range 1 + r.IntN(2) {
		p.Spec.Containers = append(p.Spec.Containers, container(fmt.Sprint("c", i)))
	}
	return p
}

func containers(p *corev1.Pod) []*corev1.Container {
	var out []*corev1.Container
	for _, cs := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range cs {
			out = append(out, &cs[i])
		}
	}
	return out
}

// store is where upstream's managers find the NUMA nodes that were chosen.
type store struct {
	hint   topologymanager.TopologyHint
	policy topologymanager.Policy
}

func (s *store) GetAffinity(string, string) topologymanager.TopologyHint { return s.hint }
func (s *store) GetPolicy() topologymanager.Policy                       { return s.policy }
func (s *store) Name() string                                            { return "container" }

func (s *store) choose(h affinity.Hint) {
	s.hint = topologymanager.TopologyHint{Preferred: h.Preferred}
	if h.Nodes != 0 {
		s.hint.NUMANodeAffinity, _ = bitmask.NewBitMask(h.Nodes.Nodes()...)
	}
}

// text writes hints of either kind alike.
func text(h map[string][]topologymanager.TopologyHint) string {
	out := ""
	for _, name := range slices.Sorted(maps.Keys(h)) {
		out += fmt.Sprint(name, h[name] == nil, ":")
		for _, x := range h[name] {
			nodes := []int{}
			if x.NUMANodeAffinity != nil {
				nodes = x.NUMANodeAffinity.GetBits()
			}
			out += fmt.Sprint(nodes, x.Preferred)
		}
		out += ";"
	}
	return out
}

func textOurs(h affinity.Hints) string { return text(theirHints(h)) }

func theirHints(h affinity.Hints) map[string][]topologymanager.TopologyHint {
	if h == nil {
		return nil
	}
	out := map[string][]topologymanager.TopologyHint{}
	for name, list := range h {
		out[name] = nil
		if list != nil {
			out[name] = []topologymanager.TopologyHint{}
		}
		for _, x := range list {
			t := topologymanager.TopologyHint{Preferred: x.Preferred}
			if x.Nodes != 0 {
				t.NUMANodeAffinity, _ = bitmask.NewBitMask(x.Nodes.Nodes()...)
			}
			out[name] = append(out[name], t)
		}
	}
	return out
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// someHint is a set of nodes that may have been chosen.
func someHint(r *rand.Rand, hints affinity.Hints) affinity.Hint {
	for _, list := range hints {
		if len(list) > 0 && r.IntN(3) > 0 {
			return list[r.IntN(len(list))]
		}
	}
	return affinity.Hint{Preferred: r.IntN(2) == 0}
}

var cpuOptions = []map[string]string{
	nil, {"full-pcpus-only": "true"}, {"distribute-cpus-across-numa": "true"}, {"distribute-cpus-across-numa": "true", "full-pcpus-only": "true"},
	{"distribute-cpus-across-cores": "true"}, {"align-by-socket": "true"}, {"prefer-align-cpus-by-uncorecache": "true"},
	{"strict-cpu-reservation": "true"}, {"full-pcpus-only": "true", "prefer-align-cpus-by-uncorecache": "true"},
}

func TestCPUs(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.CPUManagerPolicyAlphaOptions, true)
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 1))
		ours, theirs := layout(r)
		options := cpuOptions[r.IntN(len(cpuOptions))]
		compareCPUs(t, seed, r, ours, theirs, options)
	}
}

func compareCPUs(t *testing.T, seed uint64, r *rand.Rand, machine *topology.Machine, info *cadvisor.MachineInfo, options map[string]string) {
	topo, err := cputopology.Discover(log, info)
	if err != nil {
		t.Fatal(err)
	}
	policy, _ := affinity.NewPolicy(affinity.BestEffort, nil, machine)
	numa, _ := topologymanager.NewNUMAInfo(info.Topology, topologymanager.PolicyOptions{})
	chosen := &store{policy: topologymanager.NewBestEffortPolicy(numa, topologymanager.PolicyOptions{})}
	reserved := 1 + r.IntN(2)
	theirs, theirErr := cpumanager.NewStaticPolicy(log, topo, reserved, cpuset.New(), chosen, options)
	dir := t.TempDir()
	mine, err := cpu.New(cpu.Settings{Machine: machine, Options: options, Features: map[string]bool{"CPUManagerPolicyAlphaOptions": true},
		Affinity: policy, Reserved: int64(reserved) * 1000, File: filepath.Join(dir, "cpu_manager_state")})
	if (err == nil) != (theirErr == nil) {
		t.Fatalf("seed %d: we say %v, they say %v", seed, err, theirErr)
	}
	if err != nil {
		return
	}
	st, err := cpustate.NewCheckpointState(log, t.TempDir(), "cpu_manager_state", "static", containermap.NewContainerMap())
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Start(log, st); err != nil {
		t.Fatal(err)
	}
	running := map[types.UID]*corev1.Pod{}
	for n := range 25 {
		if len(running) > 0 && r.IntN(3) == 0 {
			for _, uid := range slices.Sorted(maps.Keys(running))[:1] {
				for _, c := range containers(running[uid]) {
					if err := theirs.RemoveContainer(log, st, string(uid), c.Name); err != nil {
						t.Fatal(err)
					}
				}
				if err := mine.Release(uid); err != nil {
					t.Fatal(err)
				}
				delete(running, uid)
			}
		}
		pod := somePod(r, n, false)
		if a, b := textOurs(mine.PodHints(pod)), text(theirs.GetPodTopologyHints(log, st, pod)); a != b {
			t.Fatalf("seed %d, pod %d: hints %s, they say %s", seed, n, a, b)
		}
		ok := true
		for _, c := range containers(pod) {
			hints := mine.Hints(pod, c)
			if a, b := textOurs(hints), text(theirs.GetTopologyHints(log, st, pod, c)); a != b {
				t.Fatalf("seed %d, pod %d %s: hints %s, they say %s", seed, n, c.Name, a, b)
			}
			h := someHint(r, hints)
			chosen.choose(h)
			a, b := mine.Allocate(pod, c, h), theirs.Allocate(log, st, pod, c)
			if message(a) != message(b) {
				t.Fatalf("seed %d, pod %d %s: %v, they say %v", seed, n, c.Name, a, b)
			}
			has, exclusive := mine.Of(pod.UID, c.Name)
			want, given := st.GetCPUSet(string(pod.UID), c.Name)
			if !given {
				want = st.GetDefaultCPUSet()
			}
			if a == nil && (!has.Equals(want) || exclusive != given) {
				t.Fatalf("seed %d, pod %d %s, options %v: has %v, theirs %v; machine %+v", seed, n, c.Name, options, has, want, machine)
			}
			ok = ok && a == nil
		}
		mine.Settled(pod.UID)
		running[pod.UID] = pod
		if !ok {
			for _, c := range containers(pod) {
				_ = theirs.RemoveContainer(log, st, string(pod.UID), c.Name)
			}
			_ = mine.Release(pod.UID)
			delete(running, pod.UID)
		}
	}
	// What we have written is what they would read.
	again, err := cpustate.NewCheckpointState(log, dir, "cpu_manager_state", "static", containermap.NewContainerMap())
	if err != nil {
		t.Fatalf("seed %d: they cannot read our checkpoint: %v", seed, err)
	}
	if !again.GetDefaultCPUSet().Equals(st.GetDefaultCPUSet()) || fmt.Sprint(again.GetCPUAssignments()) != fmt.Sprint(st.GetCPUAssignments()) {
		t.Fatalf("seed %d: the checkpoint has %v, want %v", seed, again.GetCPUAssignments(), st.GetCPUAssignments())
	}
}

func TestMemory(t *testing.T) {
	for seed := range uint64(80) {
		r := rand.New(rand.NewPCG(seed, 2))
		machine, info := layout(r)
		compareMemory(t, seed, r, machine, info)
	}
}

func compareMemory(t *testing.T, seed uint64, r *rand.Rand, machine *topology.Machine, info *cadvisor.MachineInfo) {
	const kept = 256 << 20
	reserved := map[int]map[corev1.ResourceName]uint64{}
	var parts []v1beta1.MemoryReservation
	for _, n := range machine.Nodes {
		reserved[n.ID] = map[corev1.ResourceName]uint64{corev1.ResourceMemory: kept}
		parts = append(parts, v1beta1.MemoryReservation{NumaNode: int32(n.ID), Limits: quantities("memory", "256Mi")})
	}
	chosen := &store{}
	theirs, err := memorymanager.NewPolicyStatic(log, info, reserved, chosen)
	if err != nil {
		t.Fatal(err)
	}
	st := memorystate.NewMemoryState(log)
	if err := theirs.Start(log, st); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mine, err := memory.New(memory.Settings{Machine: machine, ByNode: parts, File: filepath.Join(dir, "memory_manager_state"),
		Reserved: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(int64(kept*len(machine.Nodes)), resource.BinarySI)}})
	if err != nil {
		t.Fatal(err)
	}
	running := map[types.UID]*corev1.Pod{}
	end := func(pod *corev1.Pod) {
		for _, c := range containers(pod) {
			theirs.RemoveContainer(log, st, string(pod.UID), c.Name)
		}
		if err := mine.Release(pod.UID); err != nil {
			t.Fatal(err)
		}
		delete(running, pod.UID)
	}
	for n := range 25 {
		if len(running) > 0 && r.IntN(3) == 0 {
			end(running[slices.Sorted(maps.Keys(running))[0]])
		}
		pod := somePod(r, n, len(machine.Nodes[0].HugePages) > 0)
		if a, b := textOurs(mine.PodHints(pod)), text(theirs.GetPodTopologyHints(log, st, pod)); a != b {
			t.Fatalf("seed %d, pod %d: hints %s, they say %s", seed, n, a, b)
		}
		running[pod.UID] = pod
		for _, c := range containers(pod) {
			hints := mine.Hints(pod, c)
			if a, b := textOurs(hints), text(theirs.GetTopologyHints(log, st, pod, c)); a != b {
				t.Fatalf("seed %d, pod %d %s: hints %s, they say %s", seed, n, c.Name, a, b)
			}
			h := someHint(r, hints)
			chosen.choose(h)
			a, b := mine.Allocate(pod, c, h), theirs.Allocate(log, st, pod, c)
			if message(a) != message(b) {
				t.Fatalf("seed %d, pod %d %s: %v, they say %v", seed, n, c.Name, a, b)
			}
			if a != nil {
				end(pod)
				break
			}
		}
		mine.Settled(pod.UID)
		for _, c := range containers(pod) {
			a, b := mine.Of(pod.UID, c.Name), st.GetMemoryBlocks(string(pod.UID), c.Name)
			slices.SortFunc(b, func(x, y memorystate.Block) int { return len(x.Type) - len(y.Type) })
			slices.SortFunc(a, func(x, y memory.Block) int { return len(x.Type) - len(y.Type) })
			if fmt.Sprint(a) != fmt.Sprint(b) {
				t.Fatalf("seed %d, pod %d %s: has %v, theirs %v", seed, n, c.Name, a, b)
			}
		}
	}
	again, err := memorystate.NewCheckpointState(log, dir, "memory_manager_state", "Static")
	if err != nil {
		t.Fatalf("seed %d: they cannot read our checkpoint: %v", seed, err)
	}
	if a, b := sorted(again.GetMemoryAssignments()), sorted(st.GetMemoryAssignments()); a != b {
		t.Fatalf("seed %d: the checkpoint has %v, want %v", seed, a, b)
	}
}

// sorted writes assignments with each container's blocks in one order: theirs come as a map does.
func sorted(in memorystate.ContainerMemoryAssignments) string {
	in = in.Clone()
	for _, containers := range in {
		for _, blocks := range containers {
			slices.SortFunc(blocks, func(a, b memorystate.Block) int { return len(a.Type) - len(b.Type) })
		}
	}
	return fmt.Sprint(in)
}

func TestMerge(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 3))
		machine, info := layout(r)
		closest := r.IntN(2) == 0
		name := []string{affinity.BestEffort, affinity.Restricted, affinity.SingleNUMANode}[r.IntN(3)]
		options := map[string]string{"prefer-closest-numa-nodes": fmt.Sprint(closest)}
		mine, err := affinity.NewPolicy(name, options, machine)
		if err != nil {
			t.Fatal(err)
		}
		opts := topologymanager.PolicyOptions{PreferClosestNUMA: closest}
		numa, err := topologymanager.NewNUMAInfo(info.Topology, opts)
		if err != nil {
			t.Fatal(err)
		}
		theirs := map[string]topologymanager.Policy{affinity.BestEffort: topologymanager.NewBestEffortPolicy(numa, opts),
			affinity.Restricted: topologymanager.NewRestrictedPolicy(numa, opts), affinity.SingleNUMANode: topologymanager.NewSingleNumaNodePolicy(numa, opts)}[name]
		var given []affinity.Hints
		var told []map[string][]topologymanager.TopologyHint
		for i := range r.IntN(4) {
			h := someHints(r, machine, i)
			given, told = append(given, h), append(told, theirHints(h))
		}
		a, admit := mine.Merge(given)
		b, admitted := theirs.Merge(log, told)
		want := affinity.Hint{Preferred: b.Preferred}
		if b.NUMANodeAffinity != nil {
			want.Nodes = affinity.MaskOf(b.NUMANodeAffinity.GetBits()...)
		}
		if a != want || admit != admitted {
			t.Fatalf("seed %d, %s, closest %v: %v makes %v %v, they say %v %v", seed, name, closest, given, a, admit, want, admitted)
		}
	}
}

func someHints(r *rand.Rand, m *topology.Machine, i int) affinity.Hints {
	if r.IntN(6) == 0 {
		return nil
	}
	out := affinity.Hints{}
	for j := range 1 + r.IntN(2) {
		name := fmt.Sprint("r", i, j)
		out[name] = []affinity.Hint{}
		if r.IntN(8) == 0 {
			out[name] = nil
			continue
		}
		affinity.Combinations(m.NodeIDs(), func(mask affinity.Mask) {
			if r.IntN(2) == 0 {
				out[name] = append(out[name], affinity.Hint{Nodes: mask, Preferred: r.IntN(2) == 0})
			}
		})
	}
	return out
}
