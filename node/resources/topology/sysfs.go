package topology

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"k8s.io/utils/cpuset"
)

// Folders of the kernel's files, below /sys.
const (
	cpuDir  = "devices/system/cpu"
	nodeDir = "devices/system/node"
)

// Read looks at a machine by its /sys. memory is how much it has, for a kernel that knows no NUMA nodes.
func Read(sys fs.FS, memory uint64) (*Machine, error) {
	m := &Machine{CPUs: map[int]CPU{}}
	online, err := readSet(sys, path.Join(cpuDir, "online"))
	if err != nil {
		return nil, fmt.Errorf("read the machine's CPUs: %w", err)
	}
	if err := m.readNodes(sys, online, memory); err != nil {
		return nil, fmt.Errorf("read the machine's NUMA nodes: %w", err)
	}
	for cpu, where := range m.CPUs {
		dir := path.Join(cpuDir, "cpu"+strconv.Itoa(cpu), "topology")
		where.Socket = max(int(readNumber(sys, path.Join(dir, "physical_package_id"))), 0) // -1: the kernel does not know
		siblings, err := readSet(sys, path.Join(dir, "thread_siblings_list"))
		siblings = siblings.Intersection(online)
		if err != nil || siblings.IsEmpty() {
			siblings = cpuset.New(cpu)
		}
		where.Core = siblings.List()[0]
		m.CPUs[cpu] = where
	}
	m.readCaches(sys)
	m.Sockets, m.Cores = len(m.Groups(BySocket, online)), len(m.Groups(ByCore, online))
	return m, nil
}

// readNodes finds the NUMA nodes and which CPU lies in which.
func (m *Machine) readNodes(sys fs.FS, online cpuset.CPUSet, memory uint64) error {
	nodes, err := readSet(sys, path.Join(nodeDir, "online"))
	if errors.Is(err, fs.ErrNotExist) {
		m.Nodes = []Node{{Memory: memory, Distances: []uint64{10}}}
		for _, cpu := range online.List() {
			m.CPUs[cpu] = CPU{}
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, id := range nodes.List() {
		dir := path.Join(nodeDir, "node"+strconv.Itoa(id))
		cpus, err := readSet(sys, path.Join(dir, "cpulist"))
		if err != nil {
			return err
		}
		for _, cpu := range cpus.Intersection(online).List() {
			m.CPUs[cpu] = CPU{Node: id}
		}
		n := Node{ID: id, Memory: nodeMemory(sys, dir)}
		for _, field := range strings.Fields(readLine(sys, path.Join(dir, "distance"))) {
			d, _ := strconv.ParseUint(field, 10, 64)
			n.Distances = append(n.Distances, d)
		}
		n.HugePages = nodePages(sys, dir)
		m.Nodes = append(m.Nodes, n)
	}
	return nil
}

// nodeMemory reads "Node 0 MemTotal:  16314116 kB".
func nodeMemory(sys fs.FS, dir string) uint64 {
	data, _ := fs.ReadFile(sys, path.Join(dir, "meminfo"))
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) >= 4 && fields[2] == "MemTotal:" {
			kib, _ := strconv.ParseUint(fields[3], 10, 54)
			return kib << 10
		}
	}
	return 0
}

func nodePages(sys fs.FS, dir string) []HugePage {
	entries, _ := fs.ReadDir(sys, path.Join(dir, "hugepages"))
	var out []HugePage
	for _, e := range entries {
		size, ok := strings.CutPrefix(e.Name(), "hugepages-")
		kib, err := strconv.ParseUint(strings.TrimSuffix(size, "kB"), 10, 54)
		if ok && err == nil {
			count := readNumber(sys, path.Join(dir, "hugepages", e.Name(), "nr_hugepages"))
			out = append(out, HugePage{Size: kib << 10, Count: uint64(max(count, 0))})
		}
	}
	slices.SortFunc(out, func(a, b HugePage) int { return cmp.Compare(a.Size, b.Size) })
	return out
}

// lastLevel is the level of the caches that count: what is below belongs to a core.
const lastLevel = 3

// readCaches finds the last-level caches that several cores, but not a whole node, share.
func (m *Machine) readCaches(sys fs.FS) {
	for cpu, where := range m.CPUs {
		where.Cache = where.Socket
		caches, _ := fs.ReadDir(sys, path.Join(cpuDir, "cpu"+strconv.Itoa(cpu), "cache"))
		for _, c := range caches {
			dir := path.Join(cpuDir, "cpu"+strconv.Itoa(cpu), "cache", c.Name())
			if readNumber(sys, path.Join(dir, "level")) < lastLevel {
				continue
			}
			shared, err := readSet(sys, path.Join(dir, "shared_cpu_list"))
			inCore, inNode := m.In(ByCore, where.Core).Size(), m.In(ByNode, where.Node).Size()
			if err == nil && shared.Size() > inCore && shared.Size() != inNode {
				where.Cache = int(readNumber(sys, path.Join(dir, "id")))
			}
		}
		m.CPUs[cpu] = where
	}
}

func readSet(sys fs.FS, file string) (cpuset.CPUSet, error) {
	data, err := fs.ReadFile(sys, file)
	if err != nil {
		return cpuset.CPUSet{}, err
	}
	set, err := cpuset.Parse(strings.TrimSpace(string(data)))
	if err != nil {
		return set, fmt.Errorf("%s: %w", file, err)
	}
	return set, nil
}

func readLine(sys fs.FS, file string) string {
	data, _ := fs.ReadFile(sys, file)
	return strings.TrimSpace(string(data))
}

// readNumber returns -1 for a file without a number.
func readNumber(sys fs.FS, file string) int64 {
	n, err := strconv.ParseInt(readLine(sys, file), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
