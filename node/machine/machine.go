// Package machine reads off the kernel how much of the machine is in use: memory, file systems, tasks, processors. Each
// call reads anew.
package machine

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/cpuset"
)

// Meminfo returns what /proc/meminfo says, by its names. Sizes are in bytes; counts, such as HugePages_Total,
// are as they are.
func Meminfo() (map[string]int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	return parseMeminfo(data), nil
}

func parseMeminfo(data []byte) map[string]int64 {
	out := map[string]int64{}
	for line := range bytes.Lines(data) {
		name, rest, _ := strings.Cut(string(line), ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil || n < 0 {
			continue
		}
		if len(fields) > 1 && fields[1] == "kB" {
			n *= 1024
		}
		out[name] = n
	}
	return out
}

// WorkingSet returns how much of the memory that info tells of cannot be had back at once. It is all but what
// is free and files that nobody has used lately: Kubernetes' meaning of the word.
func WorkingSet(info map[string]int64) int64 {
	return max(info["MemTotal"]-info["MemFree"]-info["Inactive(file)"], 0)
}

// A FileSystem is how large one is, how much of it is in use, and how much of it is free to ordinary users. Bytes
// that are kept for root are neither.
type FileSystem struct {
	Bytes, BytesUsed, BytesFree    int64
	Inodes, InodesUsed, InodesFree int64
}

// FileSystemOf returns the figures of the file system that path lies on.
func FileSystemOf(path string) (FileSystem, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return FileSystem{}, fmt.Errorf("ask for the free space of %s: %w", path, err)
	}
	return FileSystem{
		Bytes: int64(fs.Blocks) * fs.Bsize, BytesUsed: int64(fs.Blocks-fs.Bfree) * fs.Bsize, BytesFree: int64(fs.Bavail) * fs.Bsize,
		Inodes: int64(fs.Files), InodesUsed: int64(fs.Files - fs.Ffree), InodesFree: int64(fs.Ffree),
	}, nil
}

// Stats returns the figures as the API for a node's summary has them.
func (fs FileSystem) Stats(when metav1.Time) statsapi.FsStats {
	figure := func(n int64) *uint64 { return new(uint64(max(n, 0))) }
	return statsapi.FsStats{
		Time: when, CapacityBytes: figure(fs.Bytes), UsedBytes: figure(fs.BytesUsed), AvailableBytes: figure(fs.BytesFree),
		Inodes: figure(fs.Inodes), InodesUsed: figure(fs.InodesUsed), InodesFree: figure(fs.InodesFree),
	}
}

// SameFileSystem reports whether both paths lie on one file system.
func SameFileSystem(a, b string) (bool, error) {
	var x, y unix.Stat_t
	if err := unix.Stat(a, &x); err != nil {
		return false, fmt.Errorf("ask for the file system of %s: %w", a, err)
	}
	if err := unix.Stat(b, &y); err != nil {
		return false, fmt.Errorf("ask for the file system of %s: %w", b, err)
	}
	return x.Dev == y.Dev, nil
}

// Tasks returns how many tasks there are and how many there can be.
func Tasks() (running, most int64, err error) {
	for _, limit := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		text, err := os.ReadFile(limit)
		if err != nil {
			return 0, 0, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", limit, err)
		}
		if most == 0 || n < most {
			most = n
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, 0, err
	}
	running, err = parseTasks(string(load))
	return running, most, err
}

// parseTasks reads the second half of the fourth field: "0.20 0.18 0.12 1/80 11206".
func parseTasks(load string) (int64, error) {
	fields := strings.Fields(load)
	if len(fields) < 4 {
		return 0, fmt.Errorf("/proc/loadavg: %q has no fourth field", load)
	}
	_, total, _ := strings.Cut(fields[3], "/")
	return strconv.ParseInt(total, 10, 64)
}

// CPUs returns the processors that are switched on.
func CPUs() (cpuset.CPUSet, error) {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return cpuset.New(), fmt.Errorf("list the processors: %w", err)
	}
	return cpuset.Parse(strings.TrimSpace(string(text)))
}
