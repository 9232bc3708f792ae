package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestMounts(t *testing.T) {
	info := `25 30 0:22 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
26 30 0:23 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup none rw,memory
27 30 0:24 / /elsewhere rw - cgroup none rw,memory
28 30 0:25 / /sys/fs/cgroup/unified rw - cgroup2 none rw
bad line
`
	got := mounts(info)
	if fmt.Sprint(got) != "map[cpu:/sys/fs/cgroup/cpu,cpuacct memory:/sys/fs/cgroup/memory]" {
		t.Errorf("got %v", got)
	}
	if tr := (&Tree{mounts: got, root: "/pods"}); tr.Root("memory") != "/sys/fs/cgroup/memory/pods" || tr.Root("pids") != "" {
		t.Errorf("roots are %q and %q", tr.Root("memory"), tr.Root("pids"))
	}
}

func TestWrites(t *testing.T) {
	l := LimitsOf(corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi"), "pid": resource.MustParse("500"),
		"hugepages-2Mi": resource.MustParse("4Mi"), "pods": resource.MustParse("110")}, "pid")
	for v2, want := range map[bool]string{
		false: "cpu.shares=2048 hugetlb.2MB.limit_in_bytes=4194304 memory.limit_in_bytes=1073741824 pids.max=500",
		true:  "cpu.weight=174 hugetlb.2MB.max=4194304 memory.max=1073741824 pids.max=500",
	} {
		var got []string
		for _, w := range (&Tree{v2: v2}).writes(l) {
			got = append(got, w.file+"="+w.value)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("v2 %v: got %s, want %s", v2, text, want)
		}
	}
}

// TestEnforce limits a real group and its neighbours in the tree.
func TestEnforce(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("control groups need root")
	}
	tree, err := OpenTree(fmt.Sprintf("/clipper-test-%d", os.Getpid()))
	if err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := tree.Remove(); err != nil {
			t.Error(err)
		}
	}()
	if err := tree.Enforce(Limits{CPUShares: 2048, Memory: 64 << 20, PIDs: 50}); err != nil {
		t.Fatal(err)
	}
	if err := tree.Set(500); err != nil {
		t.Fatal(err)
	}
	read := func(controller, file string) string {
		b, err := os.ReadFile(filepath.Join(tree.Root(controller), file))
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(b))
	}
	limit := "memory.limit_in_bytes"
	if tree.Unified() {
		limit = "memory.max"
	}
	if got := read("memory", limit); got != fmt.Sprint(64<<20) {
		t.Errorf("memory limit is %s", got)
	}
	if got := read("pids", "pids.max"); got != "50" {
		t.Errorf("limit of processes is %s", got)
	}
	if usage, working, err := tree.Memory(tree.root); err != nil || usage < working || usage > 64<<20 {
		t.Errorf("memory in use: %d, %d, %v", usage, working, err)
	}
	if n, err := tree.Tasks(tree.root); err != nil || n != 0 {
		t.Errorf("tasks: %d, %v", n, err)
	}
	if err := tree.EnforceExisting("/clipper-test-none", Limits{Memory: 1 << 20}); err == nil || !strings.Contains(err.Error(), "clipper-test-none") {
		t.Errorf("limits of a group that is not there: %v", err)
	}
}
