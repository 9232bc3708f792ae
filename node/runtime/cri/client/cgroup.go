package client

import (
	"fmt"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"

	"clipper/node/runtime"
)

// makeCgroup makes a pod's cgroup, which is the agent's to make, and sets its limits.
func makeCgroup(path string, r *runtime.Resources) error {
	m, limits, err := podCgroup(path, r)
	if err != nil {
		return err
	}
	if err := m.Apply(-1); err != nil {
		return fmt.Errorf("create cgroup %s: %w", path, err)
	}
	if err := m.Set(limits); err != nil {
		return fmt.Errorf("set limits of cgroup %s: %w", path, err)
	}
	return nil
}

// removeCgroup removes a pod's cgroup. Nothing runs in it any more.
func removeCgroup(path string) error {
	m, _, err := podCgroup(path, &runtime.Resources{})
	if err != nil {
		return err
	}
	if err := m.Destroy(); err != nil {
		return fmt.Errorf("remove cgroup %s: %w", path, err)
	}
	return nil
}

func podCgroup(path string, r *runtime.Resources) (cgroups.Manager, *cgroups.Resources, error) {
	if path == "" || path == "/" {
		return nil, nil, fmt.Errorf("cgroup %q is not a pod's", path)
	}
	limits := &cgroups.Resources{
		SkipDevices: true, CpuShares: r.CPUShares, CpuQuota: r.CPUQuota, CpuPeriod: r.CPUPeriod, Memory: r.MemoryLimit,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
	}
	if cgroups.IsCgroup2UnifiedMode() {
		limits.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(r.CPUShares)
	}
	if r.PidsLimit != 0 {
		limits.PidsLimit = &r.PidsLimit
	}
	for size, limit := range r.HugepageLimit {
		limits.HugetlbLimit = append(limits.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: size, Limit: uint64(limit)})
	}
	m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: limits})
	if err != nil {
		return nil, nil, fmt.Errorf("cgroup %s: %w", path, err)
	}
	return m, limits, nil
}
