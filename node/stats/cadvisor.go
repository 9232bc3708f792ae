package stats

import (
	"context"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Cadvisor returns the metrics of /metrics/cadvisor, which dashboards are built on.
func (c *Collector) Cadvisor(machine Machine) prometheus.Collector { return cadvisor{c, machine} }

// A Machine is what cAdvisor tells of the machine itself.
type Machine struct {
	MachineID, SystemUUID, BootID string
	Memory, Swap                  int64
}

type cadvisor struct {
	*Collector
	machine Machine
}

// Describe implements prometheus.Collector. Which series there are is known when they are collected.
func (cadvisor) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c cadvisor) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	e := emitter{ch}
	subjects := c.subjects(ctx)
	for _, families := range [][]family{cpuFamilies, memoryFamilies, processFamilies, diskFamilies, networkFamilies, pressureFamilies} {
		for i := range families {
			e.family(&families[i], subjects)
		}
	}
	machine := []string{c.machine.BootID, c.machine.MachineID, c.machine.SystemUUID}
	labels := []string{"boot_id", "machine_id", "system_uuid"}
	for _, m := range []struct {
		name, help string
		value      int64
	}{
		{"machine_cpu_cores", "Number of logical CPU cores.", int64(goruntime.NumCPU())},
		{"machine_cpu_physical_cores", "Number of physical CPU cores.", int64(physicalCores())},
		{"machine_cpu_sockets", "Number of CPU sockets.", int64(sockets())},
		{"machine_memory_bytes", "Amount of memory installed on the machine.", c.machine.Memory},
		{"machine_swap_bytes", "Amount of swap memory available on the machine.", c.machine.Swap},
	} {
		e.value(desc(m.name, m.help, labels), gauge, float64(m.value), time.Time{}, machine...)
	}
	e.value(desc("machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise.", nil), gauge, 0, time.Time{})
	e.value(desc("container_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", nil), gauge, 0, time.Time{})
}

func (e emitter) family(f *family, subjects []subject) {
	d := desc(f.name, f.help, append(append([]string{}, subjectLabels...), f.labels...))
	for i := range subjects {
		s := &subjects[i]
		when := s.at
		if f.timeless {
			when = time.Time{}
		}
		for _, p := range f.of(s) {
			values := append([]string{s.container, s.id, s.image, s.name, s.namespace, s.pod}, p.labels...)
			e.value(d, f.kind, p.value, when, values...)
		}
	}
}

// physicalCores counts the different cores of all sockets.
func physicalCores() int { return distinct("core_id", "physical_package_id") }

func sockets() int { return distinct("physical_package_id") }

// distinct counts the combinations that the processors have of what the kernel says of their place.
func distinct(files ...string) int {
	cpus, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/topology")
	if err != nil {
		return 0
	}
	seen := map[string]bool{}
	for _, dir := range cpus {
		var key []string
		for _, f := range files {
			key = append(key, readFile(filepath.Join(dir, f)))
		}
		seen[strings.Join(key, "/")] = true
	}
	return len(seen)
}
