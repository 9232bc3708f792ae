package server

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"clipper/node/runtime"
)

// usage is what one pod and its containers use.
type usage struct {
	pod        *corev1.Pod
	status     corev1.PodStatus
	sandbox    runtime.Stats
	hasSandbox bool
	containers []containerUsage
}

type containerUsage struct {
	name    string
	started time.Time
	stats   runtime.Stats
}

// collect asks the runtime about every running container.
func (s *Server) collect(ctx context.Context) []usage {
	var out []usage
	names := map[string]*containerUsage{}
	var ids []string
	for _, p := range s.cfg.Pods() {
		obj, st := p.Status()
		u := usage{pod: obj, status: st}
		sandbox := ""
		for _, c := range running(p, obj) {
			u.containers = append(u.containers, containerUsage{name: c.Name, started: c.StartedAt})
			ids = append(ids, c.ID)
			sandbox = c.SandboxID
		}
		if sandbox != "" {
			if st, err := s.cfg.Runtime.SandboxStats(ctx, sandbox); err == nil {
				u.sandbox, u.hasSandbox = st, true
			}
			out = append(out, u)
		}
	}
	i := 0
	for n := range out {
		for c := range out[n].containers {
			names[ids[i]] = &out[n].containers[c]
			i++
		}
	}
	if len(ids) == 0 {
		return out
	}
	all, err := s.cfg.Runtime.Stats(ctx, ids...)
	if err != nil {
		return out
	}
	for _, st := range all {
		if c := names[st.ContainerID]; c != nil {
			c.stats = st
		}
	}
	return out
}

func running(p Pod, obj *corev1.Pod) []*runtime.ContainerStatus {
	var out []*runtime.ContainerStatus
	add := func(name string) {
		if cur, _ := p.Container(name); cur != nil && cur.State == runtime.Running {
			out = append(out, cur)
		}
	}
	for i := range obj.Spec.Containers {
		add(obj.Spec.Containers[i].Name)
	}
	for i := range obj.Spec.InitContainers {
		add(obj.Spec.InitContainers[i].Name)
	}
	for i := range obj.Spec.EphemeralContainers {
		add(obj.Spec.EphemeralContainers[i].Name)
	}
	return out
}

// rates remembers the last total of each thing's CPU time, so that a summary can tell its rate.
type rates struct {
	mu   sync.Mutex
	last map[string]sample
}

type sample struct {
	at    time.Time
	total uint64
	rate  uint64
}

// of returns the rate in nanocores since the last call for key; known is false at the first. Totals that
// are asked for in quick succession keep the rate of the longer span before.
func (r *rates) of(key string, at time.Time, total uint64) (rate uint64, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]sample{}
	}
	old, ok := r.last[key]
	span := at.Sub(old.at)
	switch {
	case ok && span < time.Second:
		return old.rate, old.rate > 0
	case ok && total >= old.total:
		rate = uint64(float64(total-old.total) / span.Seconds())
	}
	r.last[key] = sample{at, total, rate}
	return rate, ok
}

// keep forgets what was not asked for since before.
func (r *rates) keep(before time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, s := range r.last {
		if s.at.Before(before) {
			delete(r.last, k)
		}
	}
}

func (s *Server) cpu(key string, st runtime.Stats) *statsapi.CPUStats {
	total := uint64(st.CPUUsage.Nanoseconds())
	c := &statsapi.CPUStats{Time: metav1.NewTime(st.At), UsageCoreNanoSeconds: &total}
	if rate, ok := s.rates.of(key, st.At, total); ok {
		c.UsageNanoCores = &rate
	}
	return c
}

func memory(st runtime.Stats, limit int64) *statsapi.MemoryStats {
	m := &statsapi.MemoryStats{Time: metav1.NewTime(st.At), UsageBytes: number(st.MemoryUsage), WorkingSetBytes: number(st.MemoryWorkingSet),
		RSSBytes: number(st.MemoryRSS), PageFaults: number(st.PageFaults), MajorPageFaults: number(st.MajorPageFaults)}
	if limit > 0 {
		m.AvailableBytes = number(max(limit-st.MemoryWorkingSet, 0))
	}
	return m
}

func number(n int64) *uint64 { u := uint64(max(n, 0)); return &u }

// summary answers /stats/summary.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	onlyCPUAndMemory := r.URL.Query().Get("only_cpu_and_memory") == "true"
	now := time.Now()
	node := s.cfg.Node()
	ns := nodeStats(now)
	out := statsapi.Summary{Node: statsapi.NodeStats{
		NodeName: node.Name, StartTime: metav1.NewTime(node.BootTime),
		CPU: s.cpu("node", ns), Memory: memory(ns, node.Memory),
	}, Pods: []statsapi.PodStats{}}
	if !onlyCPUAndMemory {
		out.Node.Fs = fsStats(node.DataDir, now)
		out.Node.Runtime = &statsapi.RuntimeStats{ImageFs: fsStats(node.DataDir, now), ContainerFs: fsStats(node.DataDir, now)}
		procs, most := processes()
		out.Node.Rlimit = &statsapi.RlimitStats{Time: metav1.NewTime(now), MaxPID: &most, NumOfRunningProcesses: &procs}
	}
	for _, u := range s.collect(r.Context()) {
		out.Pods = append(out.Pods, s.podStats(u, node, onlyCPUAndMemory))
	}
	s.rates.keep(now.Add(-time.Hour))
	writeJSON(w, out)
}

func (s *Server) podStats(u usage, node NodeFacts, brief bool) statsapi.PodStats {
	p := statsapi.PodStats{PodRef: statsapi.PodReference{Name: u.pod.Name, Namespace: u.pod.Namespace, UID: string(u.pod.UID)}}
	if u.status.StartTime != nil {
		p.StartTime = *u.status.StartTime
	}
	if u.hasSandbox {
		p.CPU, p.Memory = s.cpu(string(u.pod.UID), u.sandbox), memory(u.sandbox, 0)
		pids := uint64(u.sandbox.Pids)
		p.ProcessStats = &statsapi.ProcessStats{ProcessCount: &pids}
	}
	for _, c := range u.containers {
		limit := int64(0)
		if spec := findContainer(u.pod, c.name); spec != nil {
			limit = spec.Resources.Limits.Memory().Value()
		}
		cs := statsapi.ContainerStats{Name: c.name, StartTime: metav1.NewTime(c.started),
			CPU: s.cpu(string(u.pod.UID)+"/"+c.name, c.stats), Memory: memory(c.stats, limit)}
		if !brief {
			root, logs := fsStats(node.DataDir, c.stats.At), fsStats(node.DataDir, c.stats.At)
			root.UsedBytes, root.InodesUsed = number(c.stats.RootfsUsed), number(c.stats.RootfsInodes)
			logs.UsedBytes = number(c.stats.LogUsed)
			cs.Rootfs, cs.Logs = root, logs
		}
		p.Containers = append(p.Containers, cs)
	}
	return p
}

func fsStats(path string, at time.Time) *statsapi.FsStats {
	out := &statsapi.FsStats{Time: metav1.NewTime(at)}
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil {
		return out
	}
	size := uint64(fs.Bsize)
	capacity, avail, used := fs.Blocks*size, fs.Bavail*size, (fs.Blocks-fs.Bfree)*size
	inodes, free, inUse := fs.Files, fs.Ffree, fs.Files-fs.Ffree
	out.CapacityBytes, out.AvailableBytes, out.UsedBytes = &capacity, &avail, &used
	out.Inodes, out.InodesFree, out.InodesUsed = &inodes, &free, &inUse
	return out
}

// ticksPerSecond is the unit of /proc/stat; it is 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// nodeStats reads what the machine as a whole uses.
func nodeStats(now time.Time) runtime.Stats {
	st := runtime.Stats{At: now}
	if line, _, _ := strings.Cut(readFile("/proc/stat"), "\n"); strings.HasPrefix(line, "cpu ") {
		var ticks int64
		for i, f := range strings.Fields(line)[1:] {
			n, _ := strconv.ParseInt(f, 10, 64)
			if i < 8 && i != 3 && i != 4 { // all but idle and waiting; guests are in user already
				ticks += n
			}
		}
		st.CPUUsage = time.Duration(ticks) * (time.Second / ticksPerSecond)
	}
	mem := map[string]int64{}
	sc := bufio.NewScanner(strings.NewReader(readFile("/proc/meminfo")))
	for sc.Scan() {
		if f := strings.Fields(sc.Text()); len(f) >= 2 {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			mem[strings.TrimSuffix(f[0], ":")] = n * 1024
		}
	}
	st.MemoryUsage = mem["MemTotal"] - mem["MemFree"]
	st.MemoryWorkingSet = max(st.MemoryUsage-mem["Inactive(file)"], 0)
	st.MemoryRSS = mem["AnonPages"]
	return st
}

func processes() (running, most int64) {
	if f := strings.Fields(readFile("/proc/loadavg")); len(f) > 3 {
		_, total, _ := strings.Cut(f[3], "/")
		running, _ = strconv.ParseInt(total, 10, 64)
	}
	most, _ = strconv.ParseInt(strings.TrimSpace(readFile("/proc/sys/kernel/pid_max")), 10, 64)
	return running, most
}

func readFile(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}
