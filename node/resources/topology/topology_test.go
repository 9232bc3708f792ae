package topology

import (
	"fmt"
	"os"
	"reflect"
	"testing"
	"testing/fstest"
)

// machine makes the /sys of a machine: so many sockets, NUMA nodes in each, caches in each of those, cores in each of
// those, CPUs in each of those. CPUs are numbered as the kernel does: every core's first one before any core's second.
func machine(sockets, nodes, caches, cores, threads int) fstest.MapFS {
	sys := fstest.MapFS{}
	write := func(format string, args ...any) func(string, ...any) {
		name := fmt.Sprintf(format, args...)
		return func(format string, args ...any) {
			sys[name] = &fstest.MapFile{Data: fmt.Appendf(nil, format+"\n", args...)}
		}
	}
	all := sockets * nodes * caches * cores
	perNode := caches * cores
	list := func(from, n int) string {
		s := ""
		for t := range threads {
			s += fmt.Sprintf(",%d-%d", from+t*all, from+n-1+t*all)
		}
		return s[1:]
	}
	write("devices/system/cpu/online")("0-%d", all*threads-1)
	write("devices/system/node/online")("0-%d", sockets*nodes-1)
	for n := range sockets * nodes {
		write("devices/system/node/node%d/cpulist", n)("%s", list(n*perNode, perNode))
		write("devices/system/node/node%d/meminfo", n)("Node %d MemTotal:   1024 kB\nNode %d MemFree:  512 kB", n, n)
		write("devices/system/node/node%d/distance", n)("10 20")
		write("devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages", n)("%d", n+1)
	}
	for core := range all {
		for t := range threads {
			cpu := core + t*all
			write("devices/system/cpu/cpu%d/topology/physical_package_id", cpu)("%d", core/(nodes*perNode))
			write("devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu)("%s", list(core, 1))
			write("devices/system/cpu/cpu%d/cache/index0/level", cpu)("1")
			write("devices/system/cpu/cpu%d/cache/index0/shared_cpu_list", cpu)("%s", list(core, 1))
			write("devices/system/cpu/cpu%d/cache/index3/level", cpu)("3")
			write("devices/system/cpu/cpu%d/cache/index3/id", cpu)("%d", core/cores)
			write("devices/system/cpu/cpu%d/cache/index3/shared_cpu_list", cpu)("%s", list(core/cores*cores, cores))
		}
	}
	return sys
}

func TestRead(t *testing.T) {
	m, err := Read(machine(2, 2, 2, 2, 2), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.CPUs) != 32 || m.Sockets != 2 || m.Cores != 16 || len(m.Nodes) != 4 || m.CPUsPerCore() != 2 || m.CPUsPerCache() != 4 || m.CPUsPerSocket() != 16 {
		t.Errorf("got %+v", m)
	}
	for cpu, want := range map[int]CPU{
		0: {0, 0, 0, 0}, 16: {0, 0, 0, 0}, 3: {0, 0, 3, 1}, 4: {1, 0, 4, 2}, 15: {3, 1, 15, 7}, 31: {3, 1, 15, 7},
	} {
		if m.CPUs[cpu] != want {
			t.Errorf("CPU %d is at %v, want %v", cpu, m.CPUs[cpu], want)
		}
	}
	if got, want := m.Nodes[1], (Node{ID: 1, Memory: 1 << 20, HugePages: []HugePage{{2 << 20, 2}}, Distances: []uint64{10, 20}}); !reflect.DeepEqual(got, want) {
		t.Errorf("node %+v, want %+v", got, want)
	}
	if got := m.In(ByCache, 1).String(); got != "2-3,18-19" {
		t.Errorf("cache 1 is shared by %s", got)
	}
	if got := m.Groups(BySocket, m.In(ByNode, 1, 2)); !reflect.DeepEqual(got, []int{0, 1}) {
		t.Errorf("nodes 1 and 2 lie in sockets %v", got)
	}
}

// Where one cache serves a whole node it tells nothing apart.
func TestReadWithOneCacheForEachNode(t *testing.T) {
	m, err := Read(machine(2, 1, 1, 4, 1), 0)
	if err != nil {
		t.Fatal(err)
	}
	if m.CPUs[7] != (CPU{Node: 1, Socket: 1, Core: 7, Cache: 1}) {
		t.Errorf("CPU 7 is at %v", m.CPUs[7])
	}
}

func TestReadWithoutNodes(t *testing.T) {
	m, err := Read(fstest.MapFS{"devices/system/cpu/online": {Data: []byte("0-1\n")}}, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.CPUs) != 2 || m.Cores != 2 || m.Sockets != 1 || len(m.Nodes) != 1 || m.Nodes[0].Memory != 4096 {
		t.Errorf("got %+v", m)
	}
}

func TestReadThisMachine(t *testing.T) {
	m, err := Read(os.DirFS("/sys"), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.CPUs) == 0 || len(m.Nodes) == 0 || m.Nodes[0].Memory == 0 {
		t.Errorf("got %+v", m)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("0-3", "0-1", "0-1", "Node 0 MemTotal: 12 kB", "0,2")
	f.Fuzz(func(t *testing.T, online, nodes, list, meminfo, siblings string) {
		if max(len(online), len(nodes), len(list), len(siblings)) > 5 { // a range of billions of CPUs is a set of billions
			t.Skip()
		}
		sys := fstest.MapFS{}
		for name, data := range map[string]string{"cpu/online": online, "node/online": nodes, "node/node0/cpulist": list,
			"node/node0/meminfo": meminfo, "cpu/cpu0/topology/thread_siblings_list": siblings} {
			sys["devices/system/"+name] = &fstest.MapFile{Data: []byte(data)}
		}
		if m, err := Read(sys, 0); err == nil {
			for cpu, c := range m.CPUs {
				if !m.In(ByCore, c.Core).Contains(cpu) {
					t.Errorf("CPU %d is not in its core", cpu)
				}
			}
		}
	})
}
