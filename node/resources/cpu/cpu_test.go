package cpu

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/cpuset"

	"clipper/node/resources/affinity"
	"clipper/node/resources/topology"
)

// two is upstream's example of two sockets, each a NUMA node of three cores with two threads: even CPUs on the first.
func two() *topology.Machine {
	m := &topology.Machine{CPUs: map[int]topology.CPU{}, Sockets: 2, Cores: 6, Nodes: []topology.Node{{ID: 0}, {ID: 1}}}
	for cpu := range 12 {
		m.CPUs[cpu] = topology.CPU{Node: cpu % 2, Socket: cpu % 2, Core: cpu % 6, Cache: cpu % 2}
	}
	return m
}

// many is two sockets of two NUMA nodes, each with two caches of two cores with two threads: 32 CPUs.
func many() *topology.Machine {
	m := &topology.Machine{CPUs: map[int]topology.CPU{}, Sockets: 2, Cores: 16}
	for n := range 4 {
		m.Nodes = append(m.Nodes, topology.Node{ID: n})
	}
	for cpu := range 32 {
		core := cpu % 16
		m.CPUs[cpu] = topology.CPU{Node: core / 4, Socket: core / 8, Core: core, Cache: core / 2}
	}
	return m
}

func TestTake(t *testing.T) {
	for _, c := range []struct {
		name    string
		machine *topology.Machine
		free    string
		n       int
		choice  choice
		want    string
	}{
		{"one thread", two(), "0-11", 1, choice{}, "0"},
		{"a core", two(), "0-11", 2, choice{}, "0,6"},
		{"a core from where least is left", two(), "1-11", 2, choice{}, "2,8"},
		{"a thread of a core that is broken", two(), "0-5,7-11", 1, choice{}, "0"},
		{"a socket", two(), "0-11", 6, choice{}, "0,2,4,6,8,10"},
		{"a socket and a core", two(), "0-11", 8, choice{}, "0-2,4,6-8,10"},
		{"threads of different cores", two(), "0-11", 3, choice{spread: true}, "0,2,4"},
		{"a NUMA node of several in a socket", many(), "0-31", 8, choice{}, "0-3,16-19"},
		{"a cache", many(), "1-31", 4, choice{byCache: true}, "2-3,18-19"},
		{"what fits into one cache", many(), "0-31", 3, choice{byCache: true}, "0-1,16"},
		{"packed over two nodes", many(), "0-31", 12, choice{}, "0-5,16-21"},
		{"balanced over two nodes", many(), "0-31", 12, choice{balanced: true, group: 2}, "0-2,4-6,16-18,20-22"},
		{"balanced on one node if that will do", many(), "0-31", 6, choice{balanced: true, group: 1}, "0-2,16-18"},
		{"does not divide into groups", many(), "0-31", 5, choice{balanced: true, group: 2}, "0-2,16-17"},
		{"nothing", two(), "0-11", 0, choice{}, ""},
	} {
		free, err := cpuset.Parse(c.free)
		if err != nil {
			t.Fatal(err)
		}
		got, err := take(c.machine, free, c.n, c.choice)
		if err != nil || got.String() != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
	}
	if _, err := take(two(), cpuset.New(1, 2), 3, choice{}); err == nil || err.Error() != "not enough cpus available to satisfy request: requested=3, available=2" {
		t.Errorf("got %v", err)
	}
}

// Whatever is picked is as many as asked for, and was free.
func TestTakeGivesWhatIsAsked(t *testing.T) {
	for _, m := range []*topology.Machine{two(), many()} {
		for mask := range 20 {
			free := m.All()
			for cpu := range len(m.CPUs) {
				if (mask*7+cpu*cpu)%5 == 0 {
					free = free.Difference(cpuset.New(cpu))
				}
			}
			for n := range free.Size() + 1 {
				for _, c := range []choice{{}, {spread: true}, {byCache: true}, {balanced: true, group: 1}, {balanced: true, group: 2}} {
					got, err := take(m, free, n, c)
					if err != nil || got.Size() != n || !got.IsSubsetOf(free) {
						t.Fatalf("%d of %s by %+v: %s, %v", n, free, c, got, err)
					}
				}
			}
		}
	}
}

func guaranteed(name string, cpus ...string) *corev1.Pod {
	p := &corev1.Pod{}
	p.UID = types.UID(name)
	for i, n := range cpus {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(n), corev1.ResourceMemory: resource.MustParse("1Gi")}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprint("c", i), Resources: corev1.ResourceRequirements{Requests: list, Limits: list}})
	}
	return p
}

func open(t *testing.T, file string, m *topology.Machine, options map[string]string) (*Static, error) {
	t.Helper()
	return New(Settings{Machine: m, Options: options, Reserved: 1000, File: file})
}

func give(t *testing.T, p *Static, pod *corev1.Pod) error {
	t.Helper()
	defer p.Settled(pod.UID)
	for _, cs := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range cs {
			if err := p.Allocate(pod, &cs[i], affinity.Hint{}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Static) text(pod types.UID, container string) string {
	cpus, exclusive := p.Of(pod, container)
	return fmt.Sprint(cpus, exclusive)
}

func TestStatic(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cpu_manager_state")
	p, err := open(t, file, two(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.text("x", "c"); got != "0-11 false" {
		t.Errorf("at first all share %s", got)
	}
	for _, pod := range []*corev1.Pod{guaranteed("a", "2", "1500m"), guaranteed("b", "4")} {
		if err := give(t, p, pod); err != nil {
			t.Fatal(err)
		}
	}
	for container, want := range map[string]string{"a/c0": "2,8 true", "a/c1": "0,3,5-6,9,11 false", "b/c0": "1,4,7,10 true"} {
		pod, name, _ := strings.Cut(container, "/")
		if got := p.text(types.UID(pod), name); got != want {
			t.Errorf("%s has %s, want %s", container, got, want)
		}
	}
	again, err := open(t, file, two(), nil)
	if err != nil || again.text("b", "c0") != p.text("b", "c0") || again.text("x", "c") != p.text("x", "c") {
		t.Fatalf("the next agent says b has %s, %v", again.text("b", "c0"), err)
	}
	if err := again.Release("b"); err != nil || again.text("x", "c") != "0-1,3-7,9-11 false" {
		t.Errorf("after b has gone %s, %v", again.text("x", "c"), err)
	}
	if err := give(t, again, guaranteed("big", "11")); err == nil || err.Error() != "not enough cpus available to satisfy request: requested=11, available=9" {
		t.Errorf("got %v", err)
	}
}

func TestInitContainersLeaveTheirCPUs(t *testing.T) {
	p, err := open(t, filepath.Join(t.TempDir(), "state"), two(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pod := guaranteed("a", "2", "2")
	pod.Spec.InitContainers = guaranteed("", "4").Spec.Containers
	pod.Spec.InitContainers[0].Name = "i"
	if err := give(t, p, pod); err != nil {
		t.Fatal(err)
	}
	init, _ := p.Of("a", "i")
	one, _ := p.Of("a", "c0")
	other, _ := p.Of("a", "c1")
	if !one.Union(other).Equals(init) || !one.Intersection(other).IsEmpty() {
		t.Errorf("init container %s, the others %s and %s", init, one, other)
	}
}

func TestWholeCores(t *testing.T) {
	p, err := open(t, filepath.Join(t.TempDir(), "state"), two(), map[string]string{fullCores: "true"})
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[string]string{
		"3":  "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2",
		"12": "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 10, requested CPUs = 12, CPUs per core = 2",
	} {
		err := give(t, p, guaranteed("p", n))
		if refused := (*CoreError)(nil); !errors.As(err, &refused) || err.Error() != want || refused.Reason() != "SMTAlignmentError" {
			t.Errorf("%s CPUs: %v, want %s", n, err, want)
		}
	}
	if err := give(t, p, guaranteed("p", "10")); err != nil {
		t.Error(err)
	}
	if err := give(t, p, guaranteed("p", "10")); err != nil {
		t.Errorf("what has its CPUs keeps them: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		options  map[string]string
		reserved int64
		want     string
	}{
		{nil, 0, "[cpumanager] the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero"},
		{map[string]string{"x": "true"}, 1, `new static policy error: unknown CPU Manager Policy option: "x"`},
		{map[string]string{fullCores: "maybe"}, 1, `new static policy error: bad value for option "full-pcpus-only": strconv.ParseBool: parsing "maybe": invalid syntax`},
		{map[string]string{alignBySocket: "true"}, 1, `new static policy error: CPU Manager Policy Alpha-level Options not enabled, but option "align-by-socket" provided`},
		{map[string]string{byCache: "true", acrossNodes: "true"}, 1, "new static policy error: static policy options prefer-align-cpus-by-uncorecache and distribute-cpus-across-numa can not be used at the same time"},
		{nil, 20_000, "new static policy error: [cpumanager] unable to reserve the required amount of CPUs (size of  did not equal 20)"},
	} {
		_, err := New(Settings{Machine: two(), Options: c.options, Reserved: c.reserved, File: filepath.Join(dir, "state")})
		if err == nil || err.Error() != c.want {
			t.Errorf("%v, %d: %v, want %s", c.options, c.reserved, err, c.want)
		}
	}
}

// A machine that has lost CPUs meanwhile is not one to go on with.
func TestStateOfAnotherMachine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	if _, err := open(t, file, many(), nil); err != nil {
		t.Fatal(err)
	}
	want := `current set of available CPUs "0-11" doesn't match with CPUs in state "0-31"`
	if _, err := open(t, file, two(), nil); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func FuzzState(f *testing.F) {
	f.Add("0-3", "uid", "c", "1")
	f.Fuzz(func(t *testing.T, shared, pod, container, cpus string) {
		if max(len(shared), len(cpus)) > 5 {
			t.Skip()
		}
		file := stateFile{PolicyName: policyName, DefaultCPUSet: shared, Entries: map[string]map[string]string{pod: {container: cpus}}}
		s := state{assigned: map[types.UID]map[string]cpuset.CPUSet{}}
		if s.parse(&file) == nil {
			if got, ok := s.of(types.UID(pod), container); !ok || got.String() == "" && cpus != "" && strings.Trim(cpus, ", ") != "" {
				t.Errorf("%q became %q", cpus, got)
			}
		}
	})
}
