package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
)

// A Tree is the upper part of the node's control groups: one for each quality of service below Guaranteed,
// whose pods lie at the root itself.
type Tree struct {
	mount string // of the hierarchy with the CPU controller
	v2    bool
	root  string
}

// OpenTree finds the hierarchy. root is relative to it.
func OpenTree(root string) (*Tree, error) {
	if cgroups.IsCgroup2UnifiedMode() {
		return &Tree{mount: "/sys/fs/cgroup", v2: true, root: root}, nil
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(info)) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) > 4 && len(r) > 2 && r[0] == "cgroup" && hasController(r[2], "cpu") {
			return &Tree{mount: l[4], root: root}, nil
		}
	}
	return nil, errors.New("no cgroup hierarchy with the cpu controller is mounted; mount one at /sys/fs/cgroup")
}

func hasController(options, name string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == name {
			return true
		}
	}
	return false
}

// Set makes both groups and shares the CPU out: best-effort pods get what nobody else wants, burstable
// ones together what they have asked for.
func (t *Tree) Set(burstableMilli int64) error {
	return errors.Join(t.set("besteffort", minShares), t.set("burstable", shares(burstableMilli)))
}

func (t *Tree) set(name string, shares uint64) error {
	dir := filepath.Join(t.mount, t.root, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	file, value := "cpu.shares", shares
	if t.v2 {
		t.delegate(dir)
		file, value = "cpu.weight", cgroups.ConvertCPUSharesToCgroupV2Value(shares)
	}
	err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatUint(value, 10)), 0o644)
	if err != nil {
		return fmt.Errorf("share out the CPU: %w", err)
	}
	return nil
}

// delegate turns controllers on along the way to dir, as far as the kernel lets us: each group's parent
// has the say. A controller that is missing shows when a limit of its kind is set.
func (t *Tree) delegate(dir string) {
	rel, err := filepath.Rel(t.mount, dir)
	if err != nil {
		return
	}
	at := t.mount
	for part := range strings.SplitSeq(rel, "/") {
		for _, c := range []string{"+cpu", "+cpuset", "+memory", "+pids", "+io", "+hugetlb"} {
			_ = os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte(c), 0o644)
		}
		at = filepath.Join(at, part)
	}
}

// Remove removes both groups and the root's own, if they are empty. For nodes that end for good.
func (t *Tree) Remove() error {
	var errs []error
	for _, name := range []string{"besteffort", "burstable", ""} {
		if err := os.Remove(filepath.Join(t.mount, t.root, name)); err != nil && !os.IsNotExist(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
