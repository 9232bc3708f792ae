package stats

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	corev1 "k8s.io/api/core/v1"

	"clipper/node/cgroup"
)

const (
	hierarchies = "/sys/fs/cgroup"
	unified     = "" // the name of version 2's only hierarchy, as the library has it
)

// controllers are those of version 1 that tell something.
var controllers = []string{"cpu", "cpuacct", "memory", "pids", "blkio", "hugetlb"}

// A group is a control group: its directory in each hierarchy, by controller.
type group map[string]string

// at returns the control group of a path below the hierarchies' roots.
func at(path string) group {
	if cgroups.IsCgroup2UnifiedMode() {
		return group{unified: filepath.Join(hierarchies, path)}
	}
	g := group{}
	for _, c := range controllers {
		g[c] = filepath.Join(hierarchies, c, path)
	}
	return g
}

// ofProcess returns the control group that a process is in; an empty one if it has just ended.
func ofProcess(pid int) group {
	paths, err := cgroups.ParseCgroupFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return group{}
	}
	if cgroups.IsCgroup2UnifiedMode() {
		return group{unified: filepath.Join(hierarchies, paths[unified])}
	}
	g := group{}
	for _, c := range controllers {
		if path, ok := paths[c]; ok {
			g[c] = filepath.Join(hierarchies, c, path)
		}
	}
	return g
}

// path returns where the group is below the hierarchies' roots.
func (g group) path() string {
	for _, c := range []string{unified, "memory", "cpuacct"} {
		if dir, ok := g[c]; ok {
			rel, err := filepath.Rel(filepath.Join(hierarchies, c), dir)
			if err == nil {
				return filepath.Join("/", rel)
			}
		}
	}
	return ""
}

// read returns all that the kernel counts for the group.
func (g group) read() (*cgroups.Stats, error) {
	about := &cgroups.Cgroup{Resources: &cgroups.Resources{}}
	if dir := g[unified]; dir != "" {
		m, err := fs2.NewManager(about, dir)
		if err != nil {
			return nil, err
		}
		return m.GetStats()
	}
	if _, err := os.Stat(filepath.Join(g["pids"], "pids.current")); err != nil {
		g = maps.Clone(g)
		delete(g, "pids") // nobody counts at the root
	}
	m, err := fs.NewManager(about, g)
	if err != nil {
		return nil, err
	}
	return m.GetStats()
}

func (c *Collector) podCgroup(pod *corev1.Pod) string { return cgroup.Parent(c.cfg.CgroupRoot, pod) }
