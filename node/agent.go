package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"clipper/api"
	"clipper/api/record"
	"clipper/node/cgroup"
	"clipper/node/eviction"
	"clipper/node/imagegc"
	"clipper/node/manifests"
	"clipper/node/measure"
	"clipper/node/network"
	"clipper/node/plugins"
	"clipper/node/podworker"
	"clipper/node/podworker/lifecycle"
	"clipper/node/probe"
	"clipper/node/pull"
	"clipper/node/reserve"
	"clipper/node/runtime"
	"clipper/node/shutdown"
	"clipper/node/status"
	"clipper/node/userns/ranges"
	"clipper/node/volume"
)

// An Agent runs a node. Make it with New, start it with Run.
type Agent struct {
	opts     Options
	recorder *record.Recorder
	reporter *status.Reporter
	volumes  *volume.Manager
	plugins  *plugins.Watcher
	scarce   scarce
	cfg      podworker.Config

	collectors []prometheus.Collector // what the parts count
	meter      *measure.Meter
	probes     *probe.Metrics

	mu      sync.Mutex
	workers map[types.UID]*handle
	static  map[types.UID]*corev1.Pod // what the sources of static pods say
	sources staticPods
	tree    *cgroup.Tree // nil: there is no CPU controller
	treeMu  sync.Mutex   // held before mu

	reservation reserve.Reservation
	eviction    *eviction.Manager
	shutdown    *shutdown.Manager
	counts      counts
	images      *imagegc.Collector
	puller      *pull.Puller
	wg          sync.WaitGroup
}

// handle is a pod's worker. It stays, done, until the API says that the pod is gone: a late notice must
// not start a new worker for a pod that has been cleaned up.
type handle struct {
	*podworker.Worker
	pod       *corev1.Pod
	done      bool
	evicted   bool // it is ending, for the node's sake
	preempted bool // it is, to make room for a critical pod
}

// final reports whether the pod has ended, as far as others can see.
func (h *handle) final() bool {
	_, st := h.Status()
	return st.Phase == corev1.PodSucceeded || st.Phase == corev1.PodFailed
}

// New checks the options and returns the agent. It starts nothing.
func New(o Options) (*Agent, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	machine, err := status.ReadMachine(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("look at the machine: %w", err)
	}
	meter := measure.New()
	mountable := imagesForVolumes(o.Images) // what measures them does not mount
	o.Runtime, o.Images = meter.Runtime(o.Runtime), meter.Images(o.Images)
	a := &Agent{opts: o, meter: meter, probes: probe.NewMetrics(), counts: newCounts(), workers: map[types.UID]*handle{}}
	a.collectors = slices.Concat(o.Collectors, meter.Collectors(), a.counts.collectors())
	a.recorder = record.New(o.Client, "kubelet", o.NodeName)
	facts, err := o.facts(machine)
	if err != nil {
		return nil, err
	}
	if a.reservation, err = o.reserveFrom(&facts); err != nil {
		return nil, err
	}
	settings, err := a.openCgroups(machine)
	if err != nil {
		return nil, err
	}
	a.reporter = status.New(status.Options{
		Client: o.Client, Recorder: a.recorder, Facts: facts, Config: o.Config, Images: o.Images.ListImages,
		Pressure: a.pressure,
	})
	allocatable := facts.Allocatable()
	podsDir := o.RootDir.Join("pods")
	a.volumes = volume.New(volume.Config{
		Images: mountable, EnsureImage: a.ensureVolumeImage,
		Client: o.Client, RootDir: o.RootDir, LogDir: o.LogDir, PodsDir: podsDir, MemoryDir: filepath.Join(o.DataDir, "memory"), NodeName: o.NodeName,
		Allocatable: func() corev1.ResourceList { return allocatable }, Changed: a.nudge,
		Recorder: a.recorder, InUseChanged: a.reporter.Changed, StatsAge: o.Config.VolumeStatsAggPeriod.Duration,
	})
	a.reporter.Extend(a.setVolumesInUse)
	if err := a.openScarce(&facts); err != nil {
		return nil, err
	}
	a.reporter.Extend(a.countDevices)
	a.plugins = plugins.NewWatcher(o.RootDir, map[string]plugins.Handler{
		registration.CSIPlugin: a.volumes.Drivers(), registration.DRAPlugin: a.scarce.claims, registration.DevicePlugin: a.scarce.devices.Handler(),
	})
	if err := a.openPuller(); err != nil {
		return nil, err
	}
	a.cfg = podworker.Config{
		Puller: a.puller,
		Probes: a.probes,
		Client: o.Client, Runtime: o.Runtime, Images: o.Images, Volumes: a.volumes, Objects: objects{o.Client}, Recorder: a.recorder,
		RuntimeName: o.RuntimeName, NodeName: o.NodeName, NodeIPs: o.NodeIPs, Cgroups: settings,
		Allocatable: func() corev1.ResourceList { return allocatable },
		PodsDir:     podsDir, LogsDir: o.podLogsDir(), LogLinks: o.logLinks(), CgroupRoot: o.CgroupRoot,
		ClusterDNS: o.ClusterDNS, ClusterDomain: o.ClusterDomain, ResolvConf: o.ResolvConf,
		RestartPause: o.Config.CrashLoopBackOff.MaxContainerRestartPeriod.Duration, Unconfined: !*o.Config.SeccompDefault,
		Resizable: a.resizable, Allocator: a.scarce, UserNamespaces: ranges.New(podsDir, o.Config.UserNamespaces, int(o.Config.MaxPods)),
	}
	a.openShutdown()
	return a, a.openEviction()
}

// Run joins the cluster and runs its pods until ctx ends. Containers keep running then. It returns once
// everything it has started has ended.
func (a *Agent) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.recorder.Run(ctx) })
	group.Go(func() error { return a.serve(ctx) })
	group.Go(func() error { return a.work(ctx, group) })
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// work registers the node and then brings up, in this order, what pods need.
func (a *Agent) work(ctx context.Context, group *errgroup.Group) error {
	if err := a.puller.Recover(ctx); err != nil {
		return err
	}
	if err := a.volumes.Prepare(); err != nil {
		return fmt.Errorf("prepare volumes: %w", err)
	}
	a.shareCPU()
	if err := a.enforceReserved(); err != nil {
		return err
	}
	group.Go(func() error { return a.enforceAllocatable(ctx) })
	node, err := a.reporter.Register(ctx)
	if err != nil {
		return err
	}
	group.Go(func() error { return a.reporter.Run(ctx) })
	net, err := a.opts.OpenNetwork(ctx, node)
	if err != nil {
		return fmt.Errorf("node %s: open the pod network: %w", a.opts.NodeName, err)
	}
	a.cfg.Network = net
	a.reporter.SetNotReady(status.Network, "")
	group.Go(func() error { return a.volumes.Run(ctx) })
	group.Go(func() error { return a.runScarce(ctx) })
	group.Go(func() error { return a.plugins.Run(ctx) })
	group.Go(func() error { return a.rotateLogs(ctx) })
	group.Go(func() error { return a.images.Run(ctx) })
	group.Go(func() error { return a.eviction.Run(ctx) })
	group.Go(func() error { return a.shutdown.Run(ctx) })
	return a.runPods(ctx, group, net)
}

// runPods starts a worker for every pod of this node and tells workers what concerns them.
func (a *Agent) runPods(ctx context.Context, group *errgroup.Group, net network.Network) error {
	pods := api.Pods.View(a.opts.Client)
	if err := pods.WaitSynced(ctx); err != nil {
		return err
	}
	defer a.wg.Wait()
	events := a.opts.Runtime.Events(ctx) // before List, so that nothing falls between the two
	sandboxes, containers, err := a.opts.Runtime.List(ctx)
	if err != nil {
		return fmt.Errorf("node %s: list what the runtime holds: %w", a.opts.NodeName, err)
	}
	held := inventory{}
	external := held.add(sandboxes, containers)
	a.static = a.readStatic(ctx)
	a.sweep(ctx, held, external, net)
	a.wg.Go(func() {
		for ev := range events {
			a.containerChanged(ev)
		}
	})
	a.setStatic(ctx, a.static, held)
	group.Go(func() error { return a.runStatic(ctx, held) })
	return pods.Watch(ctx, func(ev api.Event) {
		if ev.Type == api.Synced {
			return
		}
		pod := ev.Object().(*corev1.Pod)
		if pod.Spec.NodeName != a.opts.NodeName {
			return
		}
		if manifests.IsMirror(pod) {
			a.mirrorChanged(ctx, pod, ev.Type == api.Deleted)
			return
		}
		if ev.Type == api.Deleted {
			a.deleted(pod)
			return
		}
		a.changed(ctx, pod, held)
	})
}

// changed starts the worker of a new pod or tells the one there is.
func (a *Agent) changed(ctx context.Context, pod *corev1.Pod, held inventory) {
	a.meter.Observed(pod, time.Now())
	a.mu.Lock()
	h := a.workers[pod.UID]
	if h != nil {
		h.pod = pod
		done := h.done
		a.mu.Unlock()
		if !done {
			a.volumes.Update(ctx, pod)
			h.Update(pod)
		}
		return
	}
	decision := a.admitLocked(pod)
	mine := held.of(string(pod.UID))
	delete(held, string(pod.UID))
	h = &handle{Worker: podworker.New(&a.cfg, pod, mine.sandboxes, mine.containers, decision.verdict), pod: pod}
	a.workers[pod.UID] = h
	a.mu.Unlock()
	if v := decision.verdict; v != nil {
		a.reject(pod, v)
	}
	if cgroup.QOS(pod) == corev1.PodQOSBurstable {
		a.shareCPU()
	}
	a.wg.Go(func() {
		if !await(ctx, decision.after) || h.Run(ctx) != nil {
			return // the agent is stopping
		}
		a.mu.Lock()
		h.done = true
		if cgroup.QOS(pod) == corev1.PodQOSBurstable {
			defer a.shareCPU()
		}
		if manifests.IsStatic(pod) {
			a.mu.Unlock()
			a.staticEnded(ctx, pod, held)
			return
		}
		defer a.mu.Unlock()
		if _, ok := api.Pods.View(a.opts.Client).Get(pod.Namespace, pod.Name); !ok && a.workers[pod.UID] == h {
			delete(a.workers, pod.UID)
		}
	})
}

// shareCPU tells the kernel what burstable pods have asked for together.
func (a *Agent) shareCPU() {
	if a.tree == nil {
		return
	}
	a.treeMu.Lock()
	defer a.treeMu.Unlock()
	var milli int64
	a.mu.Lock()
	for _, h := range a.workers {
		if !h.done && cgroup.QOS(h.pod) == corev1.PodQOSBurstable {
			req := resource.PodRequests(h.pod, resource.PodResourcesOptions{})
			milli += req.Cpu().MilliValue()
		}
	}
	a.mu.Unlock()
	if err := a.tree.Set(milli); err != nil {
		slog.Warn("Setting up the node's control groups failed", "err", err)
	}
}

// setVolumesInUse reports what must not be detached from the node. Until it is known, what an earlier agent has
// reported stands.
func (a *Agent) setVolumesInUse(s *corev1.NodeStatus) {
	if names, ok := a.volumes.InUse(); ok {
		s.VolumesInUse = names
	}
}

func (a *Agent) deleted(pod *corev1.Pod) {
	a.meter.Gone(pod.UID)
	a.probes.Forget(pod)
	a.mu.Lock()
	h := a.workers[pod.UID]
	if h != nil && h.done {
		delete(a.workers, pod.UID)
	}
	a.mu.Unlock()
	if h != nil {
		h.Gone()
	}
}

func (a *Agent) containerChanged(ev runtime.Event) {
	if uid, _ := lifecycle.SandboxOwner(ev.SandboxID); string(uid) != ev.PodUID {
		return // somebody else's sandbox, whatever it calls itself
	}
	if h := a.worker(types.UID(ev.PodUID)); h != nil {
		if ev.ContainerID == "" {
			h.SandboxChanged(ev.SandboxID)
			return
		}
		h.ContainerChanged(ev.ContainerID)
	}
}

func (a *Agent) nudge(uid types.UID) {
	if h := a.worker(uid); h != nil {
		h.Nudge()
	}
}

func (a *Agent) worker(uid types.UID) *handle {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.workers[uid]; h != nil && !h.done {
		return h
	}
	return nil
}

// inventory is what the runtime held when the agent started, by pod UID.
type inventory map[string]*holding

type holding struct {
	sandboxes  []runtime.SandboxStatus
	containers []runtime.ContainerStatus
}

func (inv inventory) of(uid string) *holding {
	h := inv[uid]
	if h == nil {
		h = &holding{}
		inv[uid] = h
	}
	return h
}

// add takes what the runtime holds, but for what others have made there: it returns the IDs of their sandboxes.
func (inv inventory) add(ss []runtime.SandboxStatus, cs []runtime.ContainerStatus) (external map[string]bool) {
	external = map[string]bool{}
	for _, s := range ss {
		if s.External {
			external[s.ID] = true
			continue
		}
		inv.of(s.PodUID).sandboxes = append(inv.of(s.PodUID).sandboxes, s)
	}
	for _, c := range cs {
		if external[c.SandboxID] {
			continue
		}
		inv.of(c.PodUID).containers = append(inv.of(c.PodUID).containers, c)
	}
	return external
}

// sweepers is how many pods that are gone are cleared away at once: the node's pods wait for it.
const sweepers = 16

// sweep removes what is left of pods that the API no longer has on this node: deleted while no agent ran.
func (a *Agent) sweep(ctx context.Context, held inventory, external map[string]bool, net network.Network) {
	known := map[types.UID]bool{}
	for _, p := range api.Pods.View(a.opts.Client).ByIndex(api.ByNode, a.opts.NodeName) {
		known[p.UID] = true
	}
	for uid := range a.static {
		known[uid] = true
	}
	var removals errgroup.Group
	removals.SetLimit(sweepers)
	for uid, h := range held {
		if known[types.UID(uid)] {
			continue
		}
		for _, s := range h.sandboxes {
			slog.Info("Removing what is left of a pod that is gone", "pod", s.Namespace+"/"+s.Pod, "uid", uid)
			removals.Go(func() error {
				if err := errors.Join(a.opts.Runtime.StopSandbox(ctx, s.ID), a.opts.Runtime.RemoveSandbox(ctx, s.ID)); err != nil {
					slog.Warn("Removing a sandbox failed", "sandbox", s.ID, "err", err)
				}
				return nil
			})
		}
		delete(held, uid)
	}
	_ = removals.Wait() // before their networks go
	ids, err := net.List(ctx)
	if err != nil {
		slog.Warn("Listing network attachments failed", "err", err)
	}
	for _, id := range ids {
		if uid, _ := lifecycle.SandboxOwner(id); !known[uid] && !external[id] {
			if err := net.Detach(ctx, id); err != nil {
				slog.Warn("Detaching a pod that is gone failed", "sandbox", id, "err", err)
			}
		}
	}
	if err := a.volumes.Sweep(ctx, func(uid types.UID) bool { return known[uid] }); err != nil {
		slog.Warn("Removing volumes of pods that are gone failed", "err", err)
	}
	a.sweepLogs(known)
	a.sweepScarce(known)
}
