package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"clipper/sandbox"
)

// A footprint is what a cluster's own processes take; containers' processes are only counted.
type footprint struct {
	processes int
	pods      int   // processes below the shims
	pss       int64 // bytes
	cpu       time.Duration
}

// footprint sums up all processes of the measured cluster: those that name its folder in their command
// line or environment, and, as pods, the descendants of its shims.
func (b *bench) footprint() (footprint, error) {
	var f footprint
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return f, err
	}
	parent := map[int]int{}
	ours := map[int]bool{}
	shims := map[int]bool{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		parent[pid] = parentOf(pid)
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !bytes.Contains(cmdline, []byte(filepath.Dir(sandbox.KubeconfigPath(clusterName))+"/")) {
			continue
		}
		ours[pid] = true
		shims[pid] = bytes.Contains(cmdline, []byte("shim"))
	}
	for pid, p := range parent {
		switch {
		case ours[pid]:
			f.processes++
			f.pss += pss(pid)
			f.cpu += cpuTime(pid)
		case shims[p]:
			f.pods++
		}
	}
	return f, nil
}

func parentOf(pid int) int {
	f := stat(pid)
	if len(f) < 2 {
		return 0
	}
	p, _ := strconv.Atoi(f[1])
	return p
}

// stat returns the fields of /proc/PID/stat behind the command's name.
func stat(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.Fields(rest)
}

// cpuTime returns a process's user and system time. The kernel counts it in hundredths of a second.
func cpuTime(pid int) time.Duration {
	f := stat(pid)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func pss(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}

func idle(ctx context.Context, b *bench) error {
	return b.withCluster(ctx, 1, func(string, time.Duration) error {
		at, err := b.idling(ctx, 2*time.Minute)
		if err != nil {
			return err
		}
		report("Idle/nodes=1", float64(at.pss)/(1<<20), "MB-PSS", at.core, "%-of-a-core", float64(at.processes), "processes")
		return nil
	})
}

// An idleCost is what a cluster costs that nobody asks for anything: its footprint, and a share of a core in per cent.
type idleCost struct {
	footprint
	core float64
}

// idling lets a cluster come to rest and then measures it for a minute.
func (b *bench) idling(ctx context.Context, rest time.Duration) (idleCost, error) {
	if err := wait(ctx, rest); err != nil {
		return idleCost{}, err
	}
	before, err := b.footprint()
	if err != nil {
		return idleCost{}, err
	}
	const span = time.Minute
	if err := wait(ctx, span); err != nil {
		return idleCost{}, err
	}
	after, err := b.footprint()
	return idleCost{after, 100 * (after.cpu - before.cpu).Seconds() / span.Seconds()}, err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
