package status

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/node/machine"
)

// A Machine is what the node agent reads off the machine once, at its start.
type Machine struct {
	CPUs      int
	Memory    int64 // bytes
	Disk      int64 // bytes of the file system that holds the data directory
	HugePages map[string]int64
	Swap      int64
	Info      corev1.NodeSystemInfo // without the versions of our own programs
}

// ReadMachine looks at the machine. dataDir tells which file system counts as the node's disk.
func ReadMachine(dataDir string) (Machine, error) {
	m := Machine{CPUs: goruntime.NumCPU()}
	mem, err := machine.Meminfo()
	if err != nil {
		return m, err
	}
	m.Memory, m.Swap = mem["MemTotal"], mem["SwapTotal"]
	if m.HugePages, err = hugePages("/sys/kernel/mm/hugepages"); err != nil {
		return m, err
	}
	disk, err := machine.FileSystemOf(dataDir)
	if err != nil {
		return m, err
	}
	m.Disk = disk.Bytes
	m.Info = corev1.NodeSystemInfo{
		MachineID:       cmp.Or(firstLine("/etc/machine-id"), firstLine("/var/lib/dbus/machine-id")),
		SystemUUID:      strings.ToLower(firstLine("/sys/class/dmi/id/product_uuid")),
		BootID:          firstLine("/proc/sys/kernel/random/boot_id"),
		OSImage:         osImage(),
		OperatingSystem: goruntime.GOOS,
		Architecture:    goruntime.GOARCH,
		KernelVersion:   kernelVersion(),
	}
	if m.Swap > 0 {
		m.Info.Swap = &corev1.NodeSwapStatus{Capacity: &m.Swap}
	}
	if m.Info.SystemUUID == "" {
		m.Info.SystemUUID = m.Info.MachineID
	}
	return m, nil
}

// hugePages returns how many bytes of huge pages there are, by size. dir has a folder per size:
// hugepages-2048kB.
func hugePages(dir string) (map[string]int64, error) {
	out := map[string]int64{}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil // a kernel without them
	}
	if err != nil {
		return nil, fmt.Errorf("list sizes of huge pages: %w", err)
	}
	for _, e := range entries {
		text, ok := strings.CutSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB")
		kib, err := strconv.ParseInt(text, 10, 64)
		if !ok || err != nil {
			continue
		}
		count, err := strconv.ParseInt(firstLine(filepath.Join(dir, e.Name(), "nr_hugepages")), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("count huge pages: %w", err)
		}
		out[pageName(kib*1024)] = kib * 1024 * count
	}
	return out, nil
}

func pageName(bytes int64) string { return resource.NewQuantity(bytes, resource.BinarySI).String() }

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

func osImage() string {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return "Linux"
}

func kernelVersion() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Pressure is what the node is short of.
type Pressure struct{ Memory, Disk, PIDs bool }

// BootTime returns when the machine was started.
func BootTime() time.Time {
	up, _, _ := strings.Cut(firstLine("/proc/uptime"), " ")
	seconds, err := strconv.ParseFloat(up, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(seconds * float64(time.Second))).Truncate(time.Second)
}
