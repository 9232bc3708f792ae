package stats

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/prometheus/client_golang/prometheus"
)

// A point is one sample of a family, with the values of the family's own labels.
type point struct {
	value  float64
	labels []string
}

func one(v float64) []point { return []point{{value: v}} }

// A family is one of cAdvisor's metrics.
type family struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string // beside those of the subject
	timeless   bool     // without a time stamp, as cAdvisor has those of a container's settings
	of         func(*subject) []point
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

var subjectLabels = []string{"container", "id", "image", "name", "namespace", "pod"}

func seconds(ns uint64) []point { return one(float64(ns) / float64(time.Second)) }

// onlyIf leaves a family out where it says nothing.
func onlyIf(condition bool, p []point) []point {
	if !condition {
		return nil
	}
	return p
}

var cpuFamilies = []family{
	{"container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", counter, []string{"cpu"}, false, func(s *subject) []point {
		return []point{{float64(s.stats.CpuStats.CpuUsage.TotalUsage) / float64(time.Second), []string{"total"}}}
	}},
	{"container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", counter, nil, false, func(s *subject) []point { return seconds(s.stats.CpuStats.CpuUsage.UsageInUsermode) }},
	{"container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.", counter, nil, false, func(s *subject) []point { return seconds(s.stats.CpuStats.CpuUsage.UsageInKernelmode) }},
	{"container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", counter, nil, false, func(s *subject) []point {
		return onlyIf(s.spec.quota != 0, one(float64(s.stats.CpuStats.ThrottlingData.Periods)))
	}},
	{"container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", counter, nil, false, func(s *subject) []point {
		return onlyIf(s.spec.quota != 0, one(float64(s.stats.CpuStats.ThrottlingData.ThrottledPeriods)))
	}},
	{"container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled.", counter, nil, false, func(s *subject) []point {
		return onlyIf(s.spec.quota != 0, seconds(s.stats.CpuStats.ThrottlingData.ThrottledTime))
	}},
	{"container_cpu_cfs_burst_periods_total", "Number of periods when burst occurs.", counter, nil, false, func(s *subject) []point {
		return onlyIf(s.spec.quota != 0, one(float64(s.stats.CpuStats.BurstData.BurstsPeriods)))
	}},
	{"container_cpu_cfs_burst_seconds_total", "Total time duration the container has been bursted.", counter, nil, false, func(s *subject) []point {
		return onlyIf(s.spec.quota != 0, seconds(s.stats.CpuStats.BurstData.BurstTime))
	}},
	{"container_spec_cpu_period", "CPU period of the container.", gauge, nil, true, func(s *subject) []point { return one(float64(s.spec.period)) }},
	{"container_spec_cpu_quota", "CPU quota of the container.", gauge, nil, true, func(s *subject) []point { return onlyIf(s.spec.quota != 0, one(float64(s.spec.quota))) }},
	{"container_spec_cpu_shares", "CPU share of the container.", gauge, nil, true, func(s *subject) []point { return one(float64(s.spec.shares)) }},
}

var memoryFamilies = []family{
	{"container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", gauge, nil, false, func(s *subject) []point { return one(float64(s.memory.usage)) }},
	{"container_memory_working_set_bytes", "Current working set in bytes.", gauge, nil, false, func(s *subject) []point { return one(float64(s.memory.workingSet)) }},
	{"container_memory_rss", "Size of RSS in bytes.", gauge, nil, false, func(s *subject) []point { return one(float64(s.memory.rss)) }},
	{"container_memory_cache", "Number of bytes of page cache memory.", gauge, nil, false, func(s *subject) []point { return one(float64(s.memory.cache)) }},
	{"container_memory_kernel_usage", "Size of kernel memory allocated in bytes.", gauge, nil, false, func(s *subject) []point { return one(float64(s.memory.kernel)) }},
	{"container_memory_mapped_file", "Size of memory mapped files in bytes.", gauge, nil, false, func(s *subject) []point { return one(float64(s.memory.mapped)) }},
	{"container_memory_swap", "Container swap usage in bytes.", gauge, nil, false, func(s *subject) []point { return one(float64(s.memory.swap)) }},
	{"container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes", gauge, nil, false, func(s *subject) []point { return one(float64(s.memory.max)) }},
	{"container_memory_failcnt", "Number of memory usage hits limits", counter, nil, false, func(s *subject) []point { return one(float64(s.memory.failures)) }},
	{"container_memory_total_active_file_bytes", "Current total active file in bytes.", gauge, nil, false, func(s *subject) []point { return one(float64(s.memory.activeFile)) }},
	{"container_memory_total_inactive_file_bytes", "Current total inactive file in bytes.", gauge, nil, false, func(s *subject) []point { return one(float64(s.memory.inactiveFile)) }},
	{"container_memory_failures_total", "Cumulative count of memory allocation failures.", counter, []string{"failure_type", "scope"}, false, memoryFailures},
	{"container_spec_memory_limit_bytes", "Memory limit for the container.", gauge, nil, true, func(s *subject) []point { return one(float64(s.spec.memory)) }},
	{"container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.", gauge, nil, true, func(s *subject) []point { return one(float64(s.spec.swap)) }},
	{"container_spec_memory_reservation_limit_bytes", "Memory reservation limit for the container.", gauge, nil, true, func(s *subject) []point { return one(float64(s.spec.reservation)) }},
}

// memoryFailures tells of a group's own page faults and of those below it.
func memoryFailures(s *subject) []point {
	own := s.stats.MemoryStats.Stats
	return []point{
		{float64(own["pgfault"]), []string{"pgfault", "container"}}, {float64(own["pgmajfault"]), []string{"pgmajfault", "container"}},
		{float64(s.memory.faults), []string{"pgfault", "hierarchy"}}, {float64(s.memory.majorFaults), []string{"pgmajfault", "hierarchy"}},
	}
}

var processFamilies = []family{
	{"container_last_seen", "Last time a container was seen by the exporter", gauge, nil, false, func(s *subject) []point { return one(float64(s.at.Unix())) }},
	{"container_start_time_seconds", "Start time of the container since unix epoch in seconds.", gauge, nil, true, func(s *subject) []point { return one(float64(s.started.Unix())) }},
	{"container_processes", "Number of processes running inside the container.", gauge, nil, false, func(s *subject) []point { return one(float64(s.stats.PidsStats.Current)) }},
	{"container_threads", "Number of threads running inside the container", gauge, nil, false, func(s *subject) []point { return one(float64(s.stats.PidsStats.Current)) }},
	{"container_threads_max", "Maximum number of threads allowed inside the container, infinity if value is zero", gauge, nil, false, func(s *subject) []point { return one(float64(s.stats.PidsStats.Limit)) }},
	{"container_file_descriptors", "Number of open file descriptors for the container.", gauge, nil, false, func(s *subject) []point {
		return ofWritten(s, func(w *written) int64 { return w.files })
	}},
	{"container_sockets", "Number of open sockets for the container.", gauge, nil, false, func(s *subject) []point {
		return ofWritten(s, func(w *written) int64 { return w.sockets })
	}},
	{"container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.", gauge, []string{"device"}, false, func(s *subject) []point {
		return withDevice(ofWritten(s, func(w *written) int64 { return w.bytes }))
	}},
	{"container_fs_inodes_total", "Number of Inodes", gauge, []string{"device"}, false, func(s *subject) []point {
		return withDevice(ofWritten(s, func(w *written) int64 { return w.inodes }))
	}},
}

func ofWritten(s *subject, get func(*written) int64) []point {
	if s.written == nil {
		return nil
	}
	return one(float64(get(s.written)))
}

// withDevice says that nobody knows which device a layer is on: the root file system has several.
func withDevice(p []point) []point {
	for i := range p {
		p[i].labels = []string{""}
	}
	return p
}

var diskFamilies = []family{
	{"container_fs_reads_bytes_total", "Cumulative count of bytes read", counter, []string{"device"}, false, func(s *subject) []point { return byDevice(s.stats.BlkioStats.IoServiceBytesRecursive, "read") }},
	{"container_fs_reads_total", "Cumulative count of reads completed", counter, []string{"device"}, false, func(s *subject) []point { return byDevice(s.stats.BlkioStats.IoServicedRecursive, "read") }},
	{"container_fs_writes_bytes_total", "Cumulative count of bytes written", counter, []string{"device"}, false, func(s *subject) []point { return byDevice(s.stats.BlkioStats.IoServiceBytesRecursive, "write") }},
	{"container_fs_writes_total", "Cumulative count of writes completed", counter, []string{"device"}, false, func(s *subject) []point { return byDevice(s.stats.BlkioStats.IoServicedRecursive, "write") }},
	{"container_blkio_device_usage_total", "Blkio Device bytes usage", counter, []string{"device", "major", "minor", "operation"}, false, func(s *subject) []point {
		var out []point
		for _, e := range s.stats.BlkioStats.IoServiceBytesRecursive {
			out = append(out, point{float64(e.Value), []string{device(e), fmt.Sprint(e.Major), fmt.Sprint(e.Minor), e.Op}})
		}
		return out
	}},
}

func byDevice(entries []cgroups.BlkioStatEntry, op string) []point {
	var out []point
	for _, e := range entries {
		if strings.EqualFold(e.Op, op) {
			out = append(out, point{float64(e.Value), []string{device(e)}})
		}
	}
	return out
}

// device returns the path of a block device by its numbers.
func device(e cgroups.BlkioStatEntry) string {
	to, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", e.Major, e.Minor))
	if err != nil {
		return ""
	}
	return "/dev/" + filepath.Base(to)
}

var networkFamilies = []family{
	traffic("receive_bytes", "Cumulative count of bytes received", func(i Interface) uint64 { return i.RxBytes }),
	traffic("receive_packets", "Cumulative count of packets received", func(i Interface) uint64 { return i.RxPackets }),
	traffic("receive_packets_dropped", "Cumulative count of packets dropped while receiving", func(i Interface) uint64 { return i.RxDropped }),
	traffic("receive_errors", "Cumulative count of errors encountered while receiving", func(i Interface) uint64 { return i.RxErrors }),
	traffic("transmit_bytes", "Cumulative count of bytes transmitted", func(i Interface) uint64 { return i.TxBytes }),
	traffic("transmit_packets", "Cumulative count of packets transmitted", func(i Interface) uint64 { return i.TxPackets }),
	traffic("transmit_packets_dropped", "Cumulative count of packets dropped while transmitting", func(i Interface) uint64 { return i.TxDropped }),
	traffic("transmit_errors", "Cumulative count of errors encountered while transmitting", func(i Interface) uint64 { return i.TxErrors }),
}

func traffic(name, help string, of func(Interface) uint64) family {
	return family{"container_network_" + name + "_total", help, counter, []string{"interface"}, false, func(s *subject) []point {
		var out []point
		for _, i := range s.net {
			out = append(out, point{float64(of(i)), []string{i.Name}})
		}
		return out
	}}
}

var pressureFamilies = []family{
	stalled("cpu", "CPU", func(s *cgroups.Stats) *cgroups.PSIStats { return s.CpuStats.PSI }, true),
	stalled("cpu", "CPU", func(s *cgroups.Stats) *cgroups.PSIStats { return s.CpuStats.PSI }, false),
	stalled("memory", "memory", func(s *cgroups.Stats) *cgroups.PSIStats { return s.MemoryStats.PSI }, true),
	stalled("memory", "memory", func(s *cgroups.Stats) *cgroups.PSIStats { return s.MemoryStats.PSI }, false),
	stalled("io", "IO", func(s *cgroups.Stats) *cgroups.PSIStats { return s.BlkioStats.PSI }, true),
	stalled("io", "IO", func(s *cgroups.Stats) *cgroups.PSIStats { return s.BlkioStats.PSI }, false),
}

// stalled is the time that all tasks (or, waiting, some) of a group wanted something and did not get it.
func stalled(what, called string, of func(*cgroups.Stats) *cgroups.PSIStats, all bool) family {
	f := family{name: "container_pressure_" + what + "_waiting_seconds_total", kind: counter,
		help: "Total time duration tasks in the container have waited due to " + called + " congestion."}
	if all {
		f.name = "container_pressure_" + what + "_stalled_seconds_total"
		f.help = "Total time duration no tasks in the container could make progress due to " + called + " congestion."
	}
	f.of = func(s *subject) []point {
		p := of(s.stats)
		if p == nil {
			return nil
		}
		total := p.Some.Total
		if all {
			total = p.Full.Total
		}
		return one(float64(total) / 1e6) // the kernel counts microseconds
	}
	return f
}
