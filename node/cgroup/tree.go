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

// A Tree is the upper part of the node's control groups: that of all pods together, and below it one for each
// quality of service below Guaranteed, whose pods lie at the root itself.
type Tree struct {
	mounts map[string]string // of the hierarchy of each controller that there is
	v2     bool
	root   string
}

// unified is where version 2's only hierarchy is mounted.
const unified = "/sys/fs/cgroup"

// controllers are those with which a node limits its pods.
var controllers = []string{"cpu", "memory", "pids", "hugetlb"}

// OpenTree finds the hierarchies. root is relative to them.
func OpenTree(root string) (*Tree, error) {
	if cgroups.IsCgroup2UnifiedMode() {
		names, err := os.ReadFile(filepath.Join(unified, "cgroup.controllers"))
		return &Tree{root: root, v2: true, mounts: unifiedMounts(string(names))}, err
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	t := &Tree{root: root, mounts: mounts(string(info))}
	if t.mounts["cpu"] == "" {
		return nil, errors.New("no cgroup hierarchy with the cpu controller is mounted; mount one at /sys/fs/cgroup")
	}
	return t, nil
}

// unifiedMounts says where version 2's controllers are: all in one place.
func unifiedMounts(names string) map[string]string {
	out := map[string]string{}
	for name := range strings.FieldsSeq(names) {
		out[name] = unified
	}
	return out
}

// mounts finds where version 1's controllers are mounted.
func mounts(info string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(info) {
		left, right, _ := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 5 || len(r) < 3 || r[0] != "cgroup" {
			continue
		}
		options := strings.Split(r[2], ",")
		for _, c := range controllers {
			for _, o := range options {
				if o == c && out[c] == "" {
					out[c] = l[4]
				}
			}
		}
	}
	return out
}

// Dir returns where a control group is in the hierarchy of a controller; "" if the machine does not have that.
func (t *Tree) Dir(controller, path string) string {
	if t.mounts[controller] == "" {
		return ""
	}
	return filepath.Join(t.mounts[controller], path)
}

// Root returns where the control group of all pods is in the hierarchy of a controller.
func (t *Tree) Root(controller string) string { return t.Dir(controller, t.root) }

// Unified reports whether control groups are of version 2.
func (t *Tree) Unified() bool { return t.v2 }

// Set makes the groups for the qualities of service and shares the CPU out: best-effort pods get what nobody
// else wants, burstable ones together what they have asked for.
func (t *Tree) Set(burstableMilli int64) error {
	return errors.Join(
		t.limit(filepath.Join(t.root, "besteffort"), Limits{CPUShares: minShares}),
		t.limit(filepath.Join(t.root, "burstable"), Limits{CPUShares: shares(burstableMilli)}))
}

// Remove removes the groups and the root's own, if they are empty. For nodes that end for good.
func (t *Tree) Remove() error {
	var errs []error
	seen := map[string]bool{}
	for _, c := range controllers {
		for _, name := range []string{"besteffort", "burstable", ""} {
			dir := t.Dir(c, filepath.Join(t.root, name))
			if dir == "" || seen[dir] {
				continue
			}
			seen[dir] = true
			if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Memory returns what a group uses, and of that what cannot be had back at once.
func (t *Tree) Memory(path string) (usage, workingSet int64, err error) {
	file, inactive := "memory.current", "inactive_file"
	if !t.v2 {
		file, inactive = "memory.usage_in_bytes", "total_inactive_file"
	}
	if usage, err = t.count("memory", path, file); err != nil {
		return 0, 0, err
	}
	stat, err := os.ReadFile(filepath.Join(t.Dir("memory", path), "memory.stat"))
	if err != nil {
		return 0, 0, fmt.Errorf("ask what cgroup %s uses: %w", path, err)
	}
	for line := range strings.Lines(string(stat)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == inactive {
			n, err := strconv.ParseInt(value, 10, 64)
			return usage, max(usage-n, 0), err
		}
	}
	return usage, usage, nil
}

// Tasks returns how many tasks there are in a group.
func (t *Tree) Tasks(path string) (int64, error) { return t.count("pids", path, "pids.current") }

// count reads a file that holds one number.
func (t *Tree) count(controller, path, file string) (int64, error) {
	dir := t.Dir(controller, path)
	if dir == "" {
		return 0, fmt.Errorf("ask what cgroup %s uses: this machine has no controller %q", path, controller)
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, fmt.Errorf("ask what cgroup %s uses: %w", path, err)
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}
