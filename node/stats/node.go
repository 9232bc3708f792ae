package stats

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"clipper/node/machine"
	"clipper/node/runtime"
)

// node measures the machine as a whole.
func (c *Collector) node(now time.Time, brief bool) statsapi.NodeStats {
	st, mem := readMachine(now)
	when := metav1.NewTime(now)
	out := statsapi.NodeStats{
		NodeName: c.cfg.NodeName, StartTime: metav1.NewTime(c.cfg.BootTime),
		CPU: c.cpu("node", st), Memory: memory(st, c.cfg.Memory),
		Swap: &statsapi.SwapStats{Time: when, SwapUsageBytes: number(mem["SwapTotal"] - mem["SwapFree"]), SwapAvailableBytes: number(mem["SwapFree"])},
	}
	out.SystemContainers = c.system(now)
	if brief {
		return out
	}
	out.CPU.PSI, out.Memory.PSI = readPressure("/proc/pressure/cpu"), readPressure("/proc/pressure/memory")
	if io := readPressure("/proc/pressure/io"); io != nil {
		out.IO = &statsapi.IOStats{Time: when, PSI: io}
	}
	out.Network = network(interfaces("self"), defaultInterface(), when)
	out.Fs = fileSystem(c.cfg.DataDir, now)
	out.Runtime = &statsapi.RuntimeStats{ImageFs: fileSystem(c.cfg.ImagesDir, now), ContainerFs: fileSystem(c.cfg.ImagesDir, now)}
	if procs, most, err := machine.Tasks(); err == nil {
		out.Rlimit = &statsapi.RlimitStats{Time: when, MaxPID: &most, NumOfRunningProcesses: &procs}
	}
	return out
}

// system measures what is not a pod's: the agent itself, the parent of the containers, and all pods together.
func (c *Collector) system(now time.Time) []statsapi.ContainerStats {
	add := func(name string, st runtime.Stats) statsapi.ContainerStats {
		return statsapi.ContainerStats{Name: name, StartTime: metav1.NewTime(c.cfg.BootTime),
			CPU: c.cpu("system/"+name, st), Memory: memory(st, 0), Swap: swap(st)}
	}
	out := []statsapi.ContainerStats{add(statsapi.SystemContainerKubelet, ownUsage(now))}
	if c.cfg.ShimCgroup != "" {
		if st, ok := at(c.cfg.ShimCgroup).usage(now); ok {
			out = append(out, add(statsapi.SystemContainerRuntime, st))
		}
	}
	if st, ok := at(c.cfg.CgroupRoot).usage(now); ok {
		out = append(out, add(statsapi.SystemContainerPods, st))
	}
	return out
}

// usage is read in the form in which a runtime tells it.
func (g group) usage(now time.Time) (runtime.Stats, bool) {
	s, err := g.read()
	if err != nil || g.path() == "" {
		return runtime.Stats{}, false
	}
	m := memoryOf(s)
	return runtime.Stats{
		At: now, CPUUsage: time.Duration(s.CpuStats.CpuUsage.TotalUsage),
		MemoryUsage: m.usage, MemoryWorkingSet: m.workingSet, MemoryRSS: m.rss, SwapUsage: m.swap,
		PageFaults: m.faults, MajorPageFaults: m.majorFaults, Pids: int64(s.PidsStats.Current),
	}, true
}

// ownUsage is that of this process.
func ownUsage(now time.Time) runtime.Stats {
	st := runtime.Stats{At: now}
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &r) == nil {
		st.CPUUsage = time.Duration(r.Utime.Nano() + r.Stime.Nano())
		st.PageFaults, st.MajorPageFaults = r.Minflt, r.Majflt
	}
	pages := strings.Fields(readFile("/proc/self/statm"))
	if len(pages) > 2 {
		resident, _ := strconv.ParseInt(pages[1], 10, 64) // the kernel writes numbers
		shared, _ := strconv.ParseInt(pages[2], 10, 64)
		size := int64(os.Getpagesize())
		st.MemoryUsage, st.MemoryWorkingSet, st.MemoryRSS = resident*size, resident*size, (resident-shared)*size
	}
	return st
}

// ticksPerSecond is the unit of /proc/stat; it is 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// readMachine reads what the machine as a whole uses, and all of /proc/meminfo in bytes.
func readMachine(now time.Time) (runtime.Stats, map[string]int64) {
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
	mem, _ := machine.Meminfo() // what cannot be read is told as none
	st.MemoryUsage = mem["MemTotal"] - mem["MemFree"]
	st.MemoryWorkingSet = machine.WorkingSet(mem)
	st.MemoryRSS = mem["AnonPages"]
	for sc := bufio.NewScanner(strings.NewReader(readFile("/proc/vmstat"))); sc.Scan(); {
		switch name, value, _ := strings.Cut(sc.Text(), " "); name {
		case "pgfault":
			st.PageFaults, _ = strconv.ParseInt(value, 10, 64)
		case "pgmajfault":
			st.MajorPageFaults, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	return st, mem
}

// defaultInterface is the one that the default route leaves by; "eth0" where there is no such route.
func defaultInterface() string {
	for line := range strings.Lines(readFile("/proc/net/route")) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "00000000" {
			return f[0]
		}
	}
	return podInterface
}

// fileSystem returns how full the file system of a path is; nothing but the time if nobody can say.
func fileSystem(path string, when time.Time) *statsapi.FsStats {
	out := statsapi.FsStats{Time: metav1.NewTime(when)}
	if fs, err := machine.FileSystemOf(path); err == nil {
		out = fs.Stats(out.Time)
	}
	return &out
}

// readPressure returns what a file says of time spent waiting; nil if the kernel does not count it.
func readPressure(path string) *statsapi.PSIStats {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return parsePressure(data)
}

// parsePressure reads lines of the form "some avg10=0.00 avg60=0.00 avg300=0.00 total=0".
func parsePressure(data []byte) *statsapi.PSIStats {
	out := &statsapi.PSIStats{}
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		if len(fields) == 0 {
			continue
		}
		of := map[string]*statsapi.PSIData{"some": &out.Some, "full": &out.Full}[fields[0]]
		if of == nil {
			continue
		}
		for _, f := range fields[1:] {
			key, value, _ := strings.Cut(f, "=")
			if key == "total" {
				of.Total, _ = strconv.ParseUint(value, 10, 64)
				continue
			}
			average, err := strconv.ParseFloat(value, 64)
			to := map[string]*float64{"avg10": &of.Avg10, "avg60": &of.Avg60, "avg300": &of.Avg300}[key]
			if err == nil && to != nil {
				*to = average
			}
		}
	}
	return out
}

func readFile(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}
