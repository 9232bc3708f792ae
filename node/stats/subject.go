package stats

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
)

// A subject is a control group that cAdvisor's metrics are about.
type subject struct {
	// The labels that every series has; id is the control group's path.
	container, id, image, name, namespace, pod string

	started time.Time
	at      time.Time
	stats   *cgroups.Stats
	memory  groupMemory
	spec    limits
	net     []Interface
	written *written // nil: not a container
}

// limits are a control group's settings.
type limits struct{ period, quota, shares, memory, swap, reservation int64 }

// written is what a container holds of the disk and of the kernel's tables.
type written struct{ bytes, inodes, sockets, files int64 }

// subjects measures the machine's root group, the groups above pods, pods and containers.
func (c *Collector) subjects(ctx context.Context) []subject {
	var out []subject
	add := func(s subject, g group) {
		stats, err := g.read()
		if err != nil || len(g) == 0 {
			return // it has just gone
		}
		s.id, s.stats, s.memory, s.spec, s.at = g.path(), stats, memoryOf(stats), g.limits(), time.Now()
		out = append(out, s)
	}
	root := subject{started: c.cfg.BootTime, net: interfaces("self")}
	for _, path := range []string{"/", c.cfg.CgroupRoot, c.cfg.CgroupRoot + "/burstable", c.cfg.CgroupRoot + "/besteffort"} {
		add(root, at(path))
		root.net = nil
	}
	for _, u := range c.pods(ctx) {
		pod := subject{namespace: u.pod.Namespace, pod: u.pod.Name}
		if u.status.StartTime != nil {
			pod.started = u.status.StartTime.Time
		}
		if !u.pod.Spec.HostNetwork {
			pod.net = interfaces(strconv.Itoa(u.containers[0].Pid))
		}
		add(pod, at(c.podCgroup(u.pod)))
		for i := range u.containers {
			k := &u.containers[i]
			files, sockets := openFiles(k.Pid)
			add(subject{container: k.Name, image: k.Image, name: k.ID, namespace: pod.namespace, pod: pod.pod, started: k.StartedAt,
				written: &written{bytes: k.stats.RootfsUsed, inodes: k.stats.RootfsInodes, files: files, sockets: sockets}}, ofProcess(k.Pid))
		}
	}
	return out
}

// limits reads the group's settings; what is not set is zero.
func (g group) limits() limits {
	if dir := g[unified]; dir != "" {
		quota, period, _ := strings.Cut(readFile(dir+"/cpu.max"), " ")
		weight := number0(dir, "cpu.weight")
		l := limits{quota: atoi(quota), period: atoi(period), memory: number0(dir, "memory.max"), swap: number0(dir, "memory.swap.max"), reservation: number0(dir, "memory.low")}
		if weight > 0 {
			l.shares = 2 + (weight-1)*262142/9999 // the reverse of what set it, kept by all who speak of shares
		}
		return l
	}
	return limits{
		period: number0(g["cpu"], "cpu.cfs_period_us"), quota: max(number0(g["cpu"], "cpu.cfs_quota_us"), 0), shares: number0(g["cpu"], "cpu.shares"),
		memory: bounded(number0(g["memory"], "memory.limit_in_bytes")), swap: bounded(number0(g["memory"], "memory.memsw.limit_in_bytes")),
		reservation: bounded(number0(g["memory"], "memory.soft_limit_in_bytes")),
	}
}

// unlimited is where version 1's limits begin to mean that there is none: the largest page-aligned number.
const unlimited = 1 << 62

func bounded(n int64) int64 {
	if n >= unlimited {
		return 0
	}
	return n
}

func number0(dir, file string) int64 { return atoi(readFile(filepath.Join(dir, file))) }

// atoi is zero for "max", and for files that are not there.
func atoi(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// openFiles counts what the container's first process has open.
func openFiles(pid int) (files, sockets int64) {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0
	}
	for _, e := range entries {
		files++
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			sockets++
		}
	}
	return files, sockets
}
