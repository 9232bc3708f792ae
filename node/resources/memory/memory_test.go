package memory

import (
	"fmt"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubelet/config/v1beta1"

	"clipper/node/resources/affinity"
	"clipper/node/resources/topology"
)

const gib = 1 << 30

func machine() *topology.Machine {
	return &topology.Machine{Nodes: []topology.Node{{ID: 0, Memory: 8 * gib, HugePages: []topology.HugePage{{Size: 2 << 20, Count: 512}}},
		{ID: 1, Memory: 8 * gib, HugePages: []topology.HugePage{{Size: 2 << 20, Count: 512}}}}}
}

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func settings(file string) Settings {
	return Settings{Machine: machine(), File: file, Reserved: list("memory", "1Gi", "cpu", "1"), ByNode: []v1beta1.MemoryReservation{{NumaNode: 0, Limits: list("memory", "1Gi")}}}
}

func open(t *testing.T, file string) *Static {
	t.Helper()
	p, err := New(settings(file))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pod(name string, pairs ...string) *corev1.Pod {
	p := &corev1.Pod{}
	p.UID = types.UID(name)
	l := list(append(pairs, "cpu", "1")...)
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: l, Limits: l}}}
	return p
}

func (p *Static) give(pod *corev1.Pod, hint affinity.Hint) error {
	defer p.Settled(pod.UID)
	return p.Allocate(pod, &pod.Spec.Containers[0], hint)
}

func TestStatic(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory_manager_state")
	p := open(t, file)
	// Node 0 has 8 GiB, less 1 reserved, less 1 in huge pages: 6; node 1 has 7.
	if got, want := fmt.Sprint(p.Allocatable()), fmt.Sprint([]Block{{[]int{0}, "hugepages-2Mi", gib}, {[]int{0}, "memory", 6 * gib}, {[]int{1}, "hugepages-2Mi", gib}, {[]int{1}, "memory", 7 * gib}}); got != want {
		t.Errorf("allocatable %s, want %s", got, want)
	}
	a := pod("a", "memory", "5Gi", "hugepages-2Mi", "512Mi")
	if got := fmt.Sprint(p.Hints(a, &a.Spec.Containers[0])["memory"]); got != "[{{0} true} {{1} true} {{0,1} false}]" {
		t.Errorf("hints for a: %s", got)
	}
	if err := p.give(a, affinity.Hint{}); err != nil || p.Nodes("a", "c") != affinity.MaskOf(0) {
		t.Fatalf("a lies on %v, %v", p.Nodes("a", "c"), err)
	}
	b := pod("b", "memory", "2Gi")
	if err := p.give(b, affinity.Hint{}); err != nil || p.Nodes("b", "c") != affinity.MaskOf(1) {
		t.Fatalf("b lies on %v, %v; node 0 has 1 GiB left", p.Nodes("b", "c"), err)
	}
	// Both nodes together have enough, but each serves containers of its own.
	if err := p.give(pod("c", "memory", "6Gi"), affinity.Hint{}); err == nil || err.Error() != "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available" {
		t.Errorf("c: %v", err)
	}
	again := open(t, file)
	if fmt.Sprint(again.Of("a", "c")) != fmt.Sprint(p.Of("a", "c")) || len(again.Of("a", "c")) != 2 {
		t.Errorf("the next agent says a has %v", again.Of("a", "c"))
	}
	for _, name := range []types.UID{"a", "b"} {
		if err := again.Release(name); err != nil {
			t.Fatal(err)
		}
	}
	// Now a group of both can be made, which keeps others from either alone.
	if err := again.give(pod("c", "memory", "9Gi"), affinity.Hint{}); err != nil || again.Nodes("c", "c") != affinity.MaskOf(0, 1) {
		t.Errorf("c lies on %v, %v", again.Nodes("c", "c"), err)
	}
	if err := again.give(pod("d", "memory", "1Gi"), affinity.Hint{}); err != nil || again.Nodes("d", "c") != affinity.MaskOf(0, 1) {
		t.Errorf("d lies on %v, %v; not with the group", again.Nodes("d", "c"), err)
	}
	if open(t, file).Nodes("c", "c") != affinity.MaskOf(0, 1) {
		t.Error("the group is forgotten")
	}
}

func TestOnlyGuaranteedPods(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "state"))
	b := pod("b", "memory", "1Gi")
	delete(b.Spec.Containers[0].Resources.Limits, "memory")
	b.Spec.Containers[0].Resources.Limits = list("cpu", "1")
	if err := p.give(b, affinity.Hint{}); err != nil || p.Of("b", "c") != nil || p.Wants(b) {
		t.Errorf("b has %v, %v", p.Of("b", "c"), err)
	}
}

func TestNewRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	for _, c := range []struct {
		change func(*Settings)
		want   string
	}{
		{func(s *Settings) { s.ByNode[0].NumaNode = 7 }, "the reserved memory configuration references a NUMA node 7 that does not exist on this machine"},
		{func(s *Settings) { s.Reserved = list("memory", "2Gi") }, `the total amount "1Gi" of type "memory" is not equal to the value "2Gi" determined by Node Allocatable feature`},
		{func(s *Settings) { s.Reserved, s.ByNode = nil, nil }, "[memorymanager] you should specify the system reserved memory"},
	} {
		s := settings(file)
		c.change(&s)
		if _, err := New(s); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	open(t, file)
	s := settings(file)
	s.Machine.Nodes[1].Memory = 4 * gib
	if _, err := New(s); err == nil || err.Error() != "[memorymanager] the expected machine state is different from the real one" {
		t.Errorf("with less memory: %v", err)
	}
}
