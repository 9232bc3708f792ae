package stats

import "github.com/opencontainers/cgroups"

// groupMemory is what a control group has of memory, in bytes, in the terms of cAdvisor.
type groupMemory struct {
	usage, max, workingSet, rss, cache, mapped, swap, kernel int64
	activeFile, inactiveFile                                 int64
	faults, majorFaults, failures                            int64
}

// memoryOf derives them from the counters of either version of control groups. Those of version 1 that include
// the groups below begin with total_.
func memoryOf(s *cgroups.Stats) groupMemory {
	of := s.MemoryStats.Stats
	first := func(names ...string) int64 {
		for _, n := range names {
			if v, ok := of[n]; ok {
				return int64(v)
			}
		}
		return 0
	}
	m := groupMemory{
		usage: int64(s.MemoryStats.Usage.Usage), max: int64(s.MemoryStats.Usage.MaxUsage), failures: int64(s.MemoryStats.Usage.Failcnt),
		kernel: int64(s.MemoryStats.KernelUsage.Usage),
		rss:    first("total_rss", "anon"), cache: first("total_cache", "file"), mapped: first("total_mapped_file", "file_mapped"),
		swap:       first("total_swap"),
		activeFile: first("total_active_file", "active_file"), inactiveFile: first("total_inactive_file", "inactive_file"),
		faults: first("total_pgfault", "pgfault"), majorFaults: first("total_pgmajfault", "pgmajfault"),
	}
	if _, v1 := of["total_swap"]; !v1 {
		m.swap = int64(s.MemoryStats.SwapOnlyUsage.Usage)
	}
	m.workingSet = max(m.usage-m.inactiveFile, 0)
	return m
}
