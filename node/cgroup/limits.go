package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	corev1 "k8s.io/api/core/v1"
)

// Limits are settings of a whole branch of control groups. Zero values are left alone.
type Limits struct {
	CPUShares    uint64
	Memory, PIDs int64
	HugePages    map[string]int64 // bytes, by size: "2MB"
}

// LimitsOf translates amounts of resources; pids is the name that process IDs have among them.
func LimitsOf(l corev1.ResourceList, pids corev1.ResourceName) Limits {
	var out Limits
	if q, ok := l[corev1.ResourceCPU]; ok {
		out.CPUShares = shares(q.MilliValue())
	}
	if q, ok := l[corev1.ResourceMemory]; ok {
		out.Memory = q.Value()
	}
	if q, ok := l[pids]; ok {
		out.PIDs = q.Value()
	}
	for name, q := range l {
		if size, ok := hugepage(name); ok {
			if out.HugePages == nil {
				out.HugePages = map[string]int64{}
			}
			out.HugePages[size] = q.Value()
		}
	}
	return out
}

// Enforce sets the limits of all pods together. A limit below what is in use already fails: once pods have
// been evicted for it, it will not.
func (t *Tree) Enforce(l Limits) error { return t.limit(t.root, l) }

// EnforceExisting sets the limits of a group that somebody else has made: those of the system's own processes.
func (t *Tree) EnforceExisting(path string, l Limits) error {
	for _, w := range t.writes(l) {
		if dir := t.Dir(w.controller, path); dir != "" {
			if _, err := os.Stat(dir); err != nil {
				return fmt.Errorf("cgroup %q: %w; it has to be there before the node starts", path, err)
			}
		}
	}
	return t.limit(path, l)
}

// A write is one setting in its file.
type write struct{ controller, file, value string }

// writes lists the files that limits go to.
func (t *Tree) writes(l Limits) []write {
	var out []write
	add := func(controller, fileV1, fileV2, value string) {
		file := fileV2
		if !t.v2 {
			file = fileV1
		}
		out = append(out, write{controller, file, value})
	}
	if l.CPUShares != 0 {
		value := l.CPUShares
		if t.v2 {
			value = cgroups.ConvertCPUSharesToCgroupV2Value(value)
		}
		add("cpu", "cpu.shares", "cpu.weight", strconv.FormatUint(value, 10))
	}
	if l.Memory != 0 {
		add("memory", "memory.limit_in_bytes", "memory.max", strconv.FormatInt(l.Memory, 10))
	}
	if l.PIDs != 0 {
		add("pids", "pids.max", "pids.max", strconv.FormatInt(l.PIDs, 10))
	}
	for size, bytes := range l.HugePages {
		add("hugetlb", "hugetlb."+size+".limit_in_bytes", "hugetlb."+size+".max", strconv.FormatInt(bytes, 10))
	}
	slices.SortFunc(out, func(a, b write) int { return strings.Compare(a.controller+a.file, b.controller+b.file) })
	return out
}

// limit makes the group at path where it is missing and writes its limits. A controller that the machine does
// not have limits nothing.
func (t *Tree) limit(path string, l Limits) error {
	var errs []error
	for _, w := range t.writes(l) {
		dir := t.Dir(w.controller, path)
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			errs = append(errs, fmt.Errorf("make cgroup: %w", err))
			continue
		}
		if t.v2 {
			delegate(path)
		}
		if err := os.WriteFile(filepath.Join(dir, w.file), []byte(w.value), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("limit cgroup %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// delegate turns controllers on along the way to path, as far as the kernel lets us: each group's parent has
// the say. A controller that is missing shows when a limit of its kind is set.
func delegate(path string) {
	at := unified
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		for _, c := range []string{"+cpu", "+cpuset", "+memory", "+pids", "+io", "+hugetlb"} {
			_ = os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte(c), 0o644)
		}
		at = filepath.Join(at, part)
	}
}
