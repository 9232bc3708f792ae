package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api/containers"
	"clipper/diskusage"
	"clipper/node/cgroup"
	"clipper/node/eviction"
	"clipper/node/eviction/threshold"
	"clipper/node/machine"
	"clipper/node/podworker/lifecycle"
	"clipper/node/runtime"
	"clipper/node/status"
)

// openEviction makes what keeps the node from running out of memory, disk and process IDs.
func (a *Agent) openEviction() error {
	c := a.opts.Config
	thresholds, err := threshold.Parse(threshold.Settings{
		Hard: c.EvictionHard, Soft: c.EvictionSoft, SoftGrace: c.EvictionSoftGracePeriod, MinReclaim: c.EvictionMinimumReclaim,
		Pods: slices.Contains(c.EnforceNodeAllocatable, "pods"),
	})
	if err != nil {
		return fmt.Errorf("kubelet configuration: %w", err)
	}
	shared, err := machine.SameFileSystem(a.opts.DataDir, a.imagesDir())
	if err != nil {
		return err
	}
	a.images = a.openImageCollector()
	metrics := eviction.NewMetrics()
	a.eviction = eviction.New(eviction.Config{
		Thresholds: thresholds, Transition: c.EvictionPressureTransitionPeriod.Duration,
		MaxPodGrace:  time.Duration(c.EvictionMaxPodGracePeriod) * time.Second,
		LocalStorage: *c.LocalStorageCapacityIsolation, DedicatedImageFS: !shared,
		Observe: a.observe, Pods: a.evictable, Measure: a.measure, Evict: a.evict, Ended: a.ended,
		Reclaim: []func(context.Context) error{a.reclaimDead, a.images.RemoveUnused},
		Changed: a.reporter.Changed, Recorder: a.recorder, Node: a.nodeRef(), Metrics: metrics,
		Alarm: &eviction.Alarm{Dirs: a.memoryDirs()},
	})
	a.collectors = slices.Concat(a.collectors, metrics.Collectors(), a.images.Collectors())
	return nil
}

// memoryDirs returns the control groups whose memory the kernel watches for us: version 1 alone does that.
func (a *Agent) memoryDirs() map[threshold.Signal]string {
	if a.tree == nil || a.tree.Unified() || a.tree.Dir("memory", "/") == "" {
		return nil
	}
	return map[threshold.Signal]string{threshold.MemoryAvailable: a.tree.Dir("memory", "/"), threshold.PodsMemoryAvailable: a.tree.Root("memory")}
}

// pressure returns what the node is short of.
func (a *Agent) pressure() (status.Pressure, error) {
	now := a.eviction.Conditions()
	return status.Pressure{Memory: slices.Contains(now, corev1.NodeMemoryPressure), Disk: slices.Contains(now, corev1.NodeDiskPressure),
		PIDs: slices.Contains(now, corev1.NodePIDPressure)}, nil
}

// observe measures the machine.
func (a *Agent) observe() (eviction.Observations, error) {
	info, err := machine.Meminfo()
	if err != nil {
		return nil, err
	}
	total := info["MemTotal"]
	out := eviction.Observations{threshold.MemoryAvailable: bytesOf(total-machine.WorkingSet(info), total)}
	if a.tree != nil {
		limits := a.enforceable()
		if _, used, err := a.tree.Memory(a.opts.CgroupRoot); err == nil {
			out[threshold.PodsMemoryAvailable] = bytesOf(max(limits.Memory().Value()-used, 0), limits.Memory().Value())
		}
	}
	for dir, signals := range map[string][2]threshold.Signal{
		a.opts.DataDir: {threshold.NodeFSAvailable, threshold.NodeFSInodes},
		a.imagesDir():  {threshold.ImageFSAvailable, threshold.ImageFSInodes},
	} {
		fs, err := machine.FileSystemOf(dir)
		if err != nil {
			return nil, err
		}
		out[signals[0]] = bytesOf(fs.BytesFree, fs.Bytes)
		if fs.Inodes > 0 { // some file systems make them as they need them
			out[signals[1]] = countOf(fs.InodesFree, fs.Inodes)
		}
	}
	running, most, err := machine.Tasks()
	if err != nil {
		return nil, err
	}
	out[threshold.PIDAvailable] = countOf(most-running, most)
	return out, nil
}

func bytesOf(available, capacity int64) eviction.Observation {
	return eviction.Observation{Available: *resource.NewQuantity(available, resource.BinarySI), Capacity: *resource.NewQuantity(capacity, resource.BinarySI)}
}

func countOf(available, capacity int64) eviction.Observation {
	return eviction.Observation{Available: *resource.NewQuantity(available, resource.DecimalSI), Capacity: *resource.NewQuantity(capacity, resource.DecimalSI)}
}

// evictable returns the pods that run or are about to, without those that are on their way out already.
func (a *Agent) evictable() []*corev1.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*corev1.Pod
	for _, h := range a.workers {
		if !h.done && !h.evicted && !h.final() {
			out = append(out, h.pod)
		}
	}
	slices.SortFunc(out, func(x, y *corev1.Pod) int { // the same order whenever all else is equal
		return strings.Compare(x.Namespace+"/"+x.Name, y.Namespace+"/"+y.Name)
	})
	return out
}

// evict ends a pod from the node's side.
func (a *Agent) evict(pod *corev1.Pod, v lifecycle.Verdict) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.workers[pod.UID]; h != nil && !h.done {
		h.evicted = true
		h.Evict(v)
	}
}

// ended reports whether a pod has given back all that it had of the node.
func (a *Agent) ended(uid types.UID) bool {
	h := a.worker(uid)
	return h == nil || h.Ended()
}

// reclaimTimeout bounds the wait for what ended pods have left to be removed, and reclaimEvery is how often that
// is looked at.
const (
	reclaimTimeout = 10 * time.Second
	reclaimEvery   = 50 * time.Millisecond
)

// reclaimDead removes what pods that have ended left behind. It returns once that is gone: the disk is measured
// again next, and who runs should not have to go for what the dead still hold.
func (a *Agent) reclaimDead(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reclaimTimeout)
	defer cancel()
	dead := a.dead()
	for _, h := range dead {
		h.Reclaim()
	}
	for slices.ContainsFunc(dead, func(h *handle) bool { return !h.Removed() }) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove what %d ended pods left: %w", len(dead), ctx.Err())
		case <-time.After(reclaimEvery):
		}
	}
	return nil
}

// dead returns the pods that have ended and still have something on the disk.
func (a *Agent) dead() []*handle {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*handle
	for _, h := range a.workers {
		if !h.done && h.final() && h.Ended() && !h.Removed() {
			out = append(out, h)
		}
	}
	return out
}

// measure finds out what a pod uses.
func (a *Agent) measure(ctx context.Context, pod *corev1.Pod, d eviction.Depth) (*eviction.Usage, error) {
	h := a.worker(pod.UID)
	if h == nil {
		return nil, fmt.Errorf("pod %s/%s: it has just ended", pod.Namespace, pod.Name)
	}
	u := &eviction.Usage{}
	if a.tree != nil {
		var err error
		group := cgroup.Parent(a.opts.CgroupRoot, pod)
		if _, u.Memory, err = a.tree.Memory(group); err != nil {
			return nil, err
		}
		if u.Processes, err = a.tree.Tasks(group); err != nil {
			return nil, err
		}
	}
	if d >= eviction.Containers {
		u.Containers = a.measureContainers(ctx, h)
	}
	if d < eviction.AllFiles {
		return u, nil
	}
	u.Volumes = map[string]diskusage.Usage{}
	for name, dir := range a.volumes.LocalDirs(pod) {
		used, err := diskusage.Of(ctx, dir)
		if err != nil {
			return nil, err
		}
		u.Volumes[name] = used
	}
	return u, nil
}

// measureContainers finds out what the running containers of a pod use.
func (a *Agent) measureContainers(ctx context.Context, h *handle) []eviction.ContainerUsage {
	var out []eviction.ContainerUsage
	pod, _ := h.Status()
	for c := range containers.Of(&pod.Spec) {
		now, _ := h.Container(c.Name)
		if now == nil || now.State != runtime.Running {
			continue
		}
		st, err := a.opts.Runtime.Stats(ctx, now.ID)
		if err != nil || len(st) != 1 {
			slog.Debug("A container cannot be measured", "container", now.ID, "err", err)
			continue
		}
		out = append(out, eviction.ContainerUsage{Name: c.Name, Memory: st[0].MemoryWorkingSet,
			Rootfs: diskusage.Usage{Bytes: st[0].RootfsUsed, Inodes: st[0].RootfsInodes}, Logs: diskusage.Usage{Bytes: st[0].LogUsed}})
	}
	return out
}
