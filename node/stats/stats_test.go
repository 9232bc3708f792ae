package stats

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"clipper/node/nodetest"
	"clipper/node/runtime"
)

type fakePod struct {
	obj *corev1.Pod
	cur *runtime.ContainerStatus
}

func (p *fakePod) Status() (*corev1.Pod, corev1.PodStatus)               { return p.obj, p.obj.Status }
func (p *fakePod) Container(string) (cur, prev *runtime.ContainerStatus) { return p.cur, nil }

// process runs a process and returns its number.
func process(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // as killed
	})
	return cmd.Process.Pid
}

func newCollector(t *testing.T) *Collector {
	obj := &corev1.Pod{}
	obj.Name, obj.Namespace, obj.UID = "p", "ns", "u"
	obj.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	obj.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "claim", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "x"}}}}
	pod := &fakePod{obj: obj, cur: &runtime.ContainerStatus{ID: "c1", Name: "c", Image: "i", State: runtime.Running, SandboxID: "s", Pid: process(t), StartedAt: time.Now()}}
	used := func(n uint64) statsapi.FsStats { return statsapi.FsStats{UsedBytes: &n} }
	return New(Config{NodeName: "n", Memory: 1 << 40, BootTime: time.Unix(1, 0), DataDir: "/", CgroupRoot: "/none", Runtime: nodetest.NewRuntime(),
		Pods: func() []Pod { return []Pod{pod} },
		Volumes: func(types.UID) []statsapi.VolumeStats {
			return []statsapi.VolumeStats{{FsStats: used(5), Name: "scratch"}, {FsStats: used(1000), Name: "claim"}}
		}})
}

func TestSummary(t *testing.T) {
	c := newCollector(t)
	s := c.Summary(context.Background(), false)
	if s.Node.NodeName != "n" || *s.Node.CPU.UsageCoreNanoSeconds == 0 || *s.Node.Memory.AvailableBytes == 0 || *s.Node.Rlimit.MaxPID == 0 || *s.Node.Fs.CapacityBytes == 0 || s.Node.Swap == nil || s.Node.Runtime.ImageFs == nil {
		b, _ := json.Marshal(s.Node)
		t.Errorf("node is told as %s", b)
	}
	if len(s.Node.SystemContainers) == 0 || s.Node.SystemContainers[0].Name != "kubelet" || *s.Node.SystemContainers[0].Memory.RSSBytes == 0 {
		t.Errorf("system containers are told as %v", s.Node.SystemContainers)
	}
	p := s.Pods[0]
	if p.PodRef.Name != "p" || p.Network == nil || *p.EphemeralStorage.UsedBytes != *p.Containers[0].Rootfs.UsedBytes+*p.Containers[0].Logs.UsedBytes+5 || len(p.VolumeStats) != 2 {
		b, _ := json.Marshal(p)
		t.Errorf("the pod is told as %s", b)
	}
	brief := c.Summary(context.Background(), true)
	if b := brief.Pods[0]; b.Network != nil || b.VolumeStats != nil || b.Containers[0].Rootfs != nil || b.Containers[0].Memory == nil || brief.Node.Fs != nil {
		t.Error("the brief summary is not brief")
	}
}

// gather returns the families that a collector has, by name.
func gather(t *testing.T, c prometheus.Collector) map[string]*dto.MetricFamily {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range families {
		out[f.GetName()] = f
	}
	return out
}

// The families that stable tools are built on, with a help text and, for what is measured, a time.
func TestMetricFamilies(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the files of control groups are root's")
	}
	c := newCollector(t)
	resource := gather(t, c.Resource())
	for _, name := range strings.Fields(`node_cpu_usage_seconds_total node_memory_working_set_bytes node_swap_usage_bytes container_cpu_usage_seconds_total
		container_memory_working_set_bytes container_swap_usage_bytes container_start_time_seconds pod_cpu_usage_seconds_total
		pod_memory_working_set_bytes pod_swap_usage_bytes resource_scrape_error`) {
		f := resource[name]
		if f == nil || f.GetHelp() == "" {
			t.Errorf("/metrics/resource has no %s", name)
			continue
		}
		if timed := f.Metric[0].TimestampMs != nil; timed == (name == "container_start_time_seconds" || name == "resource_scrape_error") {
			t.Errorf("%s: with a time: %v", name, timed)
		}
	}
	cadvisor := gather(t, c.Cadvisor(Machine{MachineID: "m", SystemUUID: "s", BootID: "b", Memory: 7}))
	for _, name := range strings.Fields(`container_cpu_usage_seconds_total container_cpu_user_seconds_total container_cpu_system_seconds_total
		container_memory_usage_bytes container_memory_working_set_bytes container_memory_rss container_memory_cache container_memory_swap
		container_memory_failures_total container_memory_failcnt container_memory_mapped_file container_memory_max_usage_bytes
		container_fs_usage_bytes container_network_receive_bytes_total container_network_transmit_packets_total container_processes
		container_threads container_file_descriptors container_sockets container_spec_memory_limit_bytes container_spec_cpu_shares
		container_spec_cpu_period container_start_time_seconds container_last_seen container_scrape_error machine_cpu_cores
		machine_memory_bytes machine_scrape_error`) {
		if cadvisor[name] == nil {
			t.Errorf("/metrics/cadvisor has no %s", name)
		}
	}
	labels := map[string]string{}
	for _, l := range cadvisor["container_fs_usage_bytes"].Metric[0].Label {
		labels[l.GetName()] = l.GetValue()
	}
	if labels["container"] != "c" || labels["image"] != "i" || labels["name"] != "c1" || labels["namespace"] != "ns" || labels["pod"] != "p" || len(labels) != 7 {
		t.Errorf("a container's series has the labels %v", labels)
	}
}

func TestParseInterfaces(t *testing.T) {
	got := parseInterfaces([]byte(`Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
  eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0
 short: 1 2
`))
	if len(got) != 1 || got[0] != (Interface{"eth0", 10, 2, 3, 4, 50, 6, 7, 8}) {
		t.Errorf("got %v", got)
	}
}

func TestParsePressure(t *testing.T) {
	got := parsePressure([]byte("some avg10=1.50 avg60=2.00 avg300=0.25 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\nodd\n"))
	if want := (statsapi.PSIStats{Some: statsapi.PSIData{Total: 12, Avg10: 1.5, Avg60: 2, Avg300: 0.25}, Full: statsapi.PSIData{Total: 7}}); *got != want {
		t.Errorf("got %+v", got)
	}
	if readPressure(filepath.Join(t.TempDir(), "none")) != nil {
		t.Error("a kernel that counts no pressure has some")
	}
}

func TestMemoryOf(t *testing.T) {
	v1, v2 := cgroups.NewStats(), cgroups.NewStats()
	v1.MemoryStats.Usage.Usage, v2.MemoryStats.Usage.Usage = 100, 100
	v1.MemoryStats.Stats = map[string]uint64{"total_rss": 10, "rss": 1, "total_inactive_file": 30, "total_cache": 40, "total_swap": 5, "total_pgfault": 9}
	v2.MemoryStats.Stats = map[string]uint64{"anon": 10, "inactive_file": 30, "file": 40, "pgfault": 9}
	v2.MemoryStats.SwapOnlyUsage.Usage = 5
	want := groupMemory{usage: 100, workingSet: 70, rss: 10, cache: 40, swap: 5, inactiveFile: 30, faults: 9}
	if got := memoryOf(v1); got != want {
		t.Errorf("version 1: %+v", got)
	}
	if got := memoryOf(v2); got != want {
		t.Errorf("version 2: %+v", got)
	}
}

func TestRates(t *testing.T) {
	var r rates
	at := func(s float64) time.Time { return time.Unix(100, 0).Add(time.Duration(s * float64(time.Second))) }
	for _, step := range []struct {
		at    float64
		total uint64
		rate  uint64
		known bool
	}{{0, 100, 0, false}, {0.5, 150, 0, false}, {2, 300, 100, true}, {2.5, 900, 100, true}, {4, 100, 0, false}, {6, 500, 200, true}} {
		if rate, known := r.of("x", at(step.at), step.total); rate != step.rate || known != step.known {
			t.Errorf("at %v: %d, %v", step.at, rate, known)
		}
	}
	r.keep(at(100))
	if len(r.last) != 0 {
		t.Error("what nobody asks about is remembered")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\nsome avg10=1 total=x"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		parseInterfaces(data)
		parsePressure(data)
	})
}
