package eviction

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"clipper/diskusage"
	"clipper/node/cgroup"
	"clipper/node/eviction/threshold"
	"clipper/node/podworker/lifecycle"
)

// fakeNode is a node whose memory and disk pods take, and give back some time after they are evicted.
type fakeNode struct {
	t *testing.T

	mu     sync.Mutex
	pods   map[types.UID]*Candidate
	images int64 // bytes of disk
	needed int64 // of which reclaiming leaves so much
	gone   map[types.UID]time.Time
	log    []string
}

const nodeMemory, nodeDisk = 1000 * mi, 1000 * mi

func (n *fakeNode) add(name string, priority int32, memory, disk int64) *corev1.Pod {
	p := newPod(name, priority, nil)
	p.UID = types.UID(name)
	n.pods[p.UID] = &Candidate{p, using(memory, disk, 1)}
	return p
}

func (n *fakeNode) say(format string, args ...any) {
	n.log = append(n.log, fmt.Sprintf(format, args...))
}

func (n *fakeNode) used() (memory, disk int64) {
	disk = n.images
	for uid, c := range n.pods {
		if at, ok := n.gone[uid]; !ok || time.Now().Before(at) {
			memory += c.Usage.Memory
			disk += c.Usage.disk(Files{Rootfs: true, Logs: true, Volumes: true}).Bytes
		}
	}
	return memory, disk
}

func (n *fakeNode) observe() (Observations, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	memory, disk := n.used()
	ob := func(free, all int64) Observation {
		return Observation{*resource.NewQuantity(free, resource.BinarySI), *resource.NewQuantity(all, resource.BinarySI)}
	}
	return Observations{threshold.MemoryAvailable: ob(nodeMemory-memory, nodeMemory), threshold.NodeFSAvailable: ob(nodeDisk-disk, nodeDisk)}, nil
}

func (n *fakeNode) running() []*corev1.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*corev1.Pod
	for uid, c := range n.pods {
		if _, ok := n.gone[uid]; !ok {
			out = append(out, c.Pod)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (n *fakeNode) evict(pod *corev1.Pod, v lifecycle.Verdict) {
	n.mu.Lock()
	defer n.mu.Unlock()
	condition := "without condition"
	if v.Condition != nil {
		condition = string(v.Condition.Type)
	}
	n.say("evict %s: %s %s within %v, %s", pod.Name, v.Phase, v.Reason, *v.Grace, condition)
	n.gone[pod.UID] = time.Now().Add(3 * time.Second)
}

func (n *fakeNode) EventAt(_ corev1.ObjectReference, typ, reason, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.say("%s %s: %s", typ, reason, fmt.Sprintf(format, args...))
}

func (n *fakeNode) EventAnnotated(pod *corev1.Pod, annotations map[string]string, typ, reason, message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.say("%s %s %s: %s[%s]", typ, reason, pod.Name, message, annotations["offending_containers_usage"])
}

// newManager returns a manager of the node and how to read what has happened since.
func newManager(n *fakeNode, s threshold.Settings, change func(*Config)) (m *Manager, told func() string) {
	n.gone = map[types.UID]time.Time{}
	cfg := Config{
		Thresholds: thresholds(n.t, s), Transition: 5 * time.Minute, MaxPodGrace: 30 * time.Second,
		Observe: n.observe, Pods: n.running, Evict: n.evict,
		Measure: func(_ context.Context, pod *corev1.Pod, d Depth) (*Usage, error) {
			u := *n.pods[pod.UID].Usage
			if d < Containers {
				u.Containers = nil
			}
			return &u, nil
		},
		Ended: func(uid types.UID) bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return !time.Now().Before(n.gone[uid])
		},
		Reclaim: []func(context.Context) error{func(context.Context) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.say("reclaim")
			n.images = n.needed
			return errors.New("not all of it")
		}},
		Changed: func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.say("conditions changed")
		},
		Recorder: n, Metrics: NewMetrics(), Alarm: &Alarm{Dirs: map[threshold.Signal]string{threshold.PIDAvailable: ""}},
	}
	if change != nil {
		change(&cfg)
	}
	m = New(cfg)
	return m, func() string {
		n.mu.Lock()
		defer n.mu.Unlock()
		text := strings.Join(n.log, "\n")
		n.log = nil
		return text
	}
}

func expectLog(t *testing.T, when, got string, want ...string) {
	t.Helper()
	if text := strings.Join(want, "\n"); got != text {
		t.Errorf("%s:\n got %s\nwant %s", when, got, text)
	}
}

// run runs the manager until the test ends.
func run(t *testing.T, m *Manager) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestMemoryRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNode{t: t, pods: map[types.UID]*Candidate{}}
		n.add("critical", 2_000_000_000, 500, 0)
		n.add("big", 0, 300, 0)
		n.add("small", 0, 150, 0)
		m, told := newManager(n, threshold.Settings{Hard: map[string]string{"memory.available": "100Mi"}, MinReclaim: map[string]string{"memory.available": "300Mi"}}, nil)
		run(t, m)
		synctest.Wait()
		const low = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
		expectLog(t, "at once", told(), "conditions changed", "Warning EvictionThresholdMet: Attempting to reclaim memory",
			"Warning Evicted big: "+low+"Container c was using 300Mi, request is 0, has larger consumption of memory. [300Mi]",
			"evict big: Failed Evicted within 1s, DisruptionTarget")
		time.Sleep(2 * time.Second)
		expectLog(t, "while it ends", told())
		time.Sleep(2 * time.Second) // 350 MiB are free now: not yet what has to be reclaimed
		expectLog(t, "once it has", told(), "Warning EvictionThresholdMet: Attempting to reclaim memory",
			"Warning Evicted small: The node was low on resource: memory. Threshold quantity: 100Mi, available: 350Mi. Container c was using 150Mi, request is 0, has larger consumption of memory. [150Mi]",
			"evict small: Failed Evicted within 1s, DisruptionTarget")
		time.Sleep(30 * time.Second)
		expectLog(t, "later", told())
		if c := m.Conditions(); !slices.Equal(c, []corev1.NodeConditionType{corev1.NodeMemoryPressure}) {
			t.Errorf("conditions are %v", c)
		}
		time.Sleep(5 * time.Minute)
		expectLog(t, "after the transition", told(), "conditions changed")
		if c := m.Conditions(); len(c) != 0 {
			t.Errorf("conditions are %v", c)
		}
		if got := testutil.ToFloat64(m.cfg.Metrics.evictions.WithLabelValues("memory.available")); got != 2 {
			t.Errorf("%v evictions are counted", got)
		}
	})
}

func TestNobodyCanGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNode{t: t, pods: map[types.UID]*Candidate{}}
		n.add("critical", 2_000_000_000, 990, 0)
		m, told := newManager(n, threshold.Settings{Hard: map[string]string{"memory.available": "100Mi"}}, nil)
		run(t, m)
		synctest.Wait()
		expectLog(t, "at once", told(), "conditions changed", "Warning EvictionThresholdMet: Attempting to reclaim memory")
	})
}

func TestDiskIsReclaimedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNode{t: t, pods: map[types.UID]*Candidate{}, images: 500 * mi}
		n.add("writer", 0, 0, 450)
		m, told := newManager(n, threshold.Settings{Hard: map[string]string{"nodefs.available": "10%"}}, nil)
		run(t, m)
		synctest.Wait()
		expectLog(t, "at once", told(), "conditions changed", "Warning EvictionThresholdMet: Attempting to reclaim ephemeral-storage", "reclaim")
		n.mu.Lock()
		n.images, n.needed = 460*mi, 460*mi // pulled again, and this time they are in use
		n.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		expectLog(t, "where that does not do", told(), "Warning EvictionThresholdMet: Attempting to reclaim ephemeral-storage", "reclaim",
			"Warning Evicted writer: The node was low on resource: ephemeral-storage. Threshold quantity: 104857601, available: 90Mi. Container c was using 450Mi, request is 0, has larger consumption of ephemeral-storage. [450Mi]",
			"evict writer: Failed Evicted within 1s, DisruptionTarget")
	})
}

func TestSoftThresholdLeavesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNode{t: t, pods: map[types.UID]*Candidate{}}
		p := n.add("patient", 0, 950, 0)
		ten := int64(10)
		p.Spec.TerminationGracePeriodSeconds = &ten
		m, told := newManager(n, threshold.Settings{Soft: map[string]string{"memory.available": "100Mi"}, SoftGrace: map[string]string{"memory.available": "25s"}}, nil)
		run(t, m)
		time.Sleep(29 * time.Second)
		expectLog(t, "within the grace", told(), "conditions changed")
		time.Sleep(2 * time.Second)
		if got := told(); !strings.Contains(got, "evict patient: Failed Evicted within 10s, DisruptionTarget") {
			t.Errorf("after it: %s", got)
		}
	})
}

func TestOwnStorageLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNode{t: t, pods: map[types.UID]*Candidate{}}
		within, over := n.add("within", 0, 0, 0), n.add("over", 0, 0, 0)
		n.add("unlimited", 0, 0, 900)
		for _, p := range []*corev1.Pod{within, over} {
			q := resource.MustParse("10Mi")
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &q}}}}
			n.pods[p.UID].Usage.Volumes = map[string]diskusage.Usage{"v": {Bytes: 10 * mi}}
		}
		m, told := newManager(n, threshold.Settings{}, func(c *Config) { c.LocalStorage = true })
		run(t, m)
		synctest.Wait()
		expectLog(t, "within", told())
		n.mu.Lock()
		n.pods[over.UID].Usage.Volumes["v"] = diskusage.Usage{Bytes: 10*mi + 1}
		n.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		expectLog(t, "over", told(), `Warning Evicted over: Usage of EmptyDir volume "v" exceeds the limit "10Mi". []`, "evict over: Failed Evicted within 1s, without condition")
	})
}

// TestAlarm has the kernel tell that a real control group uses more than it should.
func TestAlarm(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("control groups need root")
	}
	tree, err := cgroup.OpenTree(fmt.Sprintf("/clipper-alarm-test-%d", os.Getpid()))
	if err != nil || tree.Unified() {
		t.Skip("no control groups of version 1: ", err)
	}
	if err := tree.Enforce(cgroup.Limits{Memory: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Remove(); err != nil {
			t.Error(err)
		}
	})
	dir := tree.Root("memory")
	a := &Alarm{Dirs: map[threshold.Signal]string{threshold.PodsMemoryAvailable: dir}}
	rings := a.start(t.Context())
	defer a.stop()
	free := func(mib int64) Observations {
		return Observations{threshold.PodsMemoryAvailable: {Available: *resource.NewQuantity(mib<<20, resource.BinarySI), Capacity: resource.MustParse("64Mi")}}
	}
	ts := thresholds(t, threshold.Settings{Pods: true, Hard: map[string]string{"memory.available": "16Mi"}})
	a.arm(ts, free(32))
	a.arm(ts, free(32)) // again: the level of before must not ring any more
	scratch := t.TempDir()
	if err := unix.Mount("none", scratch, "tmpfs", 0, "size=32m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(scratch, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	use := func(mib int) { // files in memory count as used by whoever writes them
		t.Helper()
		script := fmt.Sprintf("echo $$ >%s/cgroup.procs && exec dd if=/dev/zero of=%s/%d bs=1M count=%d", dir, scratch, mib, mib)
		if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	use(4)
	select {
	case <-rings:
		t.Error("rings although 12 MiB more are free than asked for")
	case <-time.After(100 * time.Millisecond):
	}
	use(20)
	select {
	case <-rings:
	case <-time.After(20 * time.Second):
		t.Error("does not ring")
	}
}
