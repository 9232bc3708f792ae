package status

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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
	m := Machine{CPUs: goruntime.NumCPU(), HugePages: map[string]int64{}}
	mem, err := readMeminfo()
	if err != nil {
		return m, err
	}
	m.Memory, m.Swap = mem["MemTotal"], mem["SwapTotal"]
	if size := mem["Hugepagesize"]; size > 0 {
		m.HugePages[pageName(size)] = size * mem["HugePages_Total"] / 1024 // the count has no unit
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dataDir, &fs); err != nil {
		return m, fmt.Errorf("ask for the size of the file system of %s: %w", dataDir, err)
	}
	m.Disk = int64(fs.Blocks) * fs.Bsize
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

func pageName(bytes int64) string { return resource.NewQuantity(bytes, resource.BinarySI).String() }

// readMeminfo returns /proc/meminfo in bytes.
func readMeminfo() (map[string]int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]int64{}
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		name, rest, _ := strings.Cut(sc.Text(), ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			out[name] = n * 1024
		}
	}
	return out, sc.Err()
}

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
