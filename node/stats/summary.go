package stats

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"clipper/node/runtime"
)

// remembered is how long the rate of something that is no longer asked about is kept.
const remembered = time.Hour

// Summary measures the node and its pods. Brief leaves out all but processor and memory, which is much cheaper.
func (c *Collector) Summary(ctx context.Context, brief bool) *statsapi.Summary {
	now := time.Now()
	out := &statsapi.Summary{Node: c.node(now, brief), Pods: []statsapi.PodStats{}}
	for _, u := range c.pods(ctx) {
		out.Pods = append(out.Pods, c.pod(&u, brief))
	}
	c.rates.keep(now.Add(-remembered))
	return out
}

func (c *Collector) pod(u *usage, brief bool) statsapi.PodStats {
	uid := string(u.pod.UID)
	p := statsapi.PodStats{PodRef: statsapi.PodReference{Name: u.pod.Name, Namespace: u.pod.Namespace, UID: uid}}
	if u.status.StartTime != nil {
		p.StartTime = *u.status.StartTime
	}
	if u.known {
		pids := uint64(u.sandbox.Pids)
		p.CPU, p.Memory, p.Swap = c.cpu(uid, u.sandbox), memory(u.sandbox, 0), swap(u.sandbox)
		p.ProcessStats = &statsapi.ProcessStats{ProcessCount: &pids}
	}
	for i := range u.containers {
		p.Containers = append(p.Containers, c.container(uid, &u.containers[i], brief))
	}
	if brief {
		return p
	}
	if u.known {
		p.IO = pressure(at(c.podCgroup(u.pod)), p.CPU, p.Memory, u.sandbox.At)
	}
	when := metav1.NewTime(u.containers[0].stats.At)
	if !u.pod.Spec.HostNetwork {
		p.Network = podNetwork(u.containers[0].Pid, when)
	}
	p.VolumeStats = c.Volumes(u.pod.UID)
	p.EphemeralStorage = ephemeral(u, p.Containers, p.VolumeStats, fileSystem(c.cfg.DataDir, when.Time))
	return p
}

func (c *Collector) container(uid string, u *containerUsage, brief bool) statsapi.ContainerStats {
	out := statsapi.ContainerStats{
		Name: u.Name, StartTime: metav1.NewTime(u.StartedAt),
		CPU: c.cpu(uid+"/"+u.Name, u.stats), Memory: memory(u.stats, u.spec.Resources.Limits.Memory().Value()), Swap: swap(u.stats),
	}
	if brief {
		return out
	}
	out.IO = pressure(ofProcess(u.Pid), out.CPU, out.Memory, u.stats.At)
	out.Rootfs, out.Logs = fileSystem(c.cfg.ImagesDir, u.stats.At), fileSystem(c.cfg.DataDir, u.stats.At)
	out.Rootfs.UsedBytes, out.Rootfs.InodesUsed = number(u.stats.RootfsUsed), number(u.stats.RootfsInodes)
	out.Logs.UsedBytes, out.Logs.InodesUsed = number(u.stats.LogUsed), nil
	return out
}

func (c *Collector) cpu(key string, st runtime.Stats) *statsapi.CPUStats {
	total := uint64(st.CPUUsage.Nanoseconds())
	out := &statsapi.CPUStats{Time: metav1.NewTime(st.At), UsageCoreNanoSeconds: &total}
	if rate, ok := c.rates.of(key, st.At, total); ok {
		out.UsageNanoCores = &rate
	}
	return out
}

func memory(st runtime.Stats, limit int64) *statsapi.MemoryStats {
	m := &statsapi.MemoryStats{Time: metav1.NewTime(st.At), UsageBytes: number(st.MemoryUsage), WorkingSetBytes: number(st.MemoryWorkingSet),
		RSSBytes: number(st.MemoryRSS), PageFaults: number(st.PageFaults), MajorPageFaults: number(st.MajorPageFaults)}
	if limit > 0 {
		m.AvailableBytes = number(limit - st.MemoryWorkingSet)
	}
	return m
}

func swap(st runtime.Stats) *statsapi.SwapStats {
	return &statsapi.SwapStats{Time: metav1.NewTime(st.At), SwapUsageBytes: number(st.SwapUsage)}
}

// number is n as the summary wants it; a negative one says that two readings did not fit together.
func number(n int64) *uint64 { u := uint64(max(n, 0)); return &u }

// pressure adds to cpu and mem the time that tasks of a control group waited, and returns that for disks. Only
// version 2 of control groups knows.
func pressure(g group, cpu *statsapi.CPUStats, mem *statsapi.MemoryStats, at time.Time) *statsapi.IOStats {
	dir := g[unified]
	if dir == "" {
		return nil
	}
	cpu.PSI, mem.PSI = readPressure(dir+"/cpu.pressure"), readPressure(dir+"/memory.pressure")
	io := readPressure(dir + "/io.pressure")
	if io == nil {
		return nil
	}
	return &statsapi.IOStats{Time: metav1.NewTime(at), PSI: io}
}

// ephemeral adds up what a pod has written to the node's own disk.
func ephemeral(u *usage, containers []statsapi.ContainerStats, volumes []statsapi.VolumeStats, fs *statsapi.FsStats) *statsapi.FsStats {
	var bytes, inodes uint64
	add := func(from *statsapi.FsStats) {
		if from != nil && from.UsedBytes != nil {
			bytes += *from.UsedBytes
		}
		if from != nil && from.InodesUsed != nil {
			inodes += *from.InodesUsed
		}
	}
	for i := range containers {
		add(containers[i].Rootfs)
		add(containers[i].Logs)
	}
	local := map[string]bool{}
	for _, v := range u.pod.Spec.Volumes {
		local[v.Name] = v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil || v.GitRepo != nil ||
			v.EmptyDir != nil && v.EmptyDir.Medium == ""
	}
	for i := range volumes {
		if local[volumes[i].Name] {
			add(&volumes[i].FsStats)
		}
	}
	fs.UsedBytes, fs.InodesUsed = &bytes, &inodes
	return fs
}
