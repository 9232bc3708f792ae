package podworker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/api/containers"
	"clipper/node/cgroup"
	"clipper/node/logs"
	"clipper/node/network"
	"clipper/node/podworker/lifecycle"
	"clipper/node/runtime"
)

// carry does an action's work away from the worker's goroutine and returns what to do with the result on it.
type carry func(ctx context.Context, pod *corev1.Pod) (apply func(now time.Time))

// prepare picks an action's work and the context it runs in: what serves the living pod is cancelled when
// the pod terminates.
func (w *Worker) prepare(ctx context.Context, a lifecycle.Action) (carry, context.Context) {
	switch a.Op {
	case lifecycle.Allocate:
		return w.allocate(), w.run
	case lifecycle.Attach:
		return w.attach(a), w.run
	case lifecycle.Mount:
		return w.mount(), w.run
	case lifecycle.RunSandbox:
		return w.runSandbox(a), w.run
	case lifecycle.DropStale:
		return w.dropStale(a), ctx
	case lifecycle.Pull:
		return w.pull(a), w.run
	case lifecycle.Start:
		return w.start(a), w.run
	case lifecycle.Resize:
		return w.resize(a), w.run
	case lifecycle.ResizePod:
		return w.resizePod(), w.run
	case lifecycle.PreStop:
		return w.preStopAhead(a), w.stopContext(ctx)
	case lifecycle.Stop:
		return w.stop(a), w.stopContext(ctx)
	case lifecycle.Remove:
		return w.remove(a), ctx
	case lifecycle.Teardown:
		return w.teardown(a), ctx
	case lifecycle.Delete:
		return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
			err := w.deleteFromAPI(ctx, pod)
			return func(now time.Time) {
				if err != nil {
					w.o.Delete.Fail(now, err)
					return
				}
				w.o.Deleted = true
			}
		}, ctx
	}
	panic("podworker: no work for action " + a.String())
}

func (w *Worker) attach(a lifecycle.Action) carry {
	return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
		id := lifecycle.SandboxID(pod, a.Attempt)
		var at network.Attachment
		err := w.separate(pod, id)
		if err == nil {
			at, err = w.cfg.Network.Attach(ctx, id, hostPorts(pod))
		}
		if err == nil && at.NetNS == "" && len(at.IPs) > 0 { // a sandbox of the runtime's network was found running
			err = w.writePodFiles(pod, at.IPs)
		}
		return func(now time.Time) {
			if err != nil {
				w.o.Network.Fail(now, err)
				w.sandboxFailed(ctx, err)
				return
			}
			w.o.Network.Succeed()
			w.o.IPs, w.o.NetNS = at.IPs, at.NetNS
		}
	}
}

func (w *Worker) sandboxFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // the pod was deleted meanwhile: nobody's failure
	}
	w.event("", corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
}

// hostPorts lists the node's ports that lead to the pod.
func hostPorts(pod *corev1.Pod) []network.PodPort {
	var out []network.PodPort
	for c := range containers.Of(&pod.Spec) {
		for _, p := range c.Ports {
			if p.HostPort == 0 || (!lifecycle.IsSidecar(c) && lifecycle.IsInit(pod, c.Name)) {
				continue
			}
			pp := network.PodPort{HostPort: uint16(p.HostPort), ContainerPort: uint16(p.ContainerPort), Protocol: string(p.Protocol)}
			if ip, err := netip.ParseAddr(p.HostIP); err == nil && !ip.IsUnspecified() {
				pp.HostIP = ip
			}
			out = append(out, pp)
		}
	}
	return out
}

func (w *Worker) mount() carry {
	return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
		err := w.cfg.Volumes.Mount(ctx, pod)
		return func(now time.Time) {
			if err == nil {
				w.o.Volumes.Succeed()
				return
			}
			w.o.Volumes.Fail(now, err)
			if ctx.Err() != nil {
				return
			}
			if refused := Refusal(nil); errors.As(err, &refused) {
				w.turnAway(refused)
				return
			}
			for _, e := range split(err) {
				if errors.Is(e, context.DeadlineExceeded) {
					continue // who keeps the pod waiting tells of it: the attach/detach controller
				}
				w.event("", corev1.EventTypeWarning, "FailedMount", "%v", e)
			}
		}
	}
}

// split returns the errors that err joins.
func split(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

func (w *Worker) runSandbox(a lifecycle.Action) carry {
	netns, ips := w.o.NetNS, w.o.IPs
	if w.o.Granted == nil {
		w.o.Granted, w.o.Applied = w.pod.Spec.Resources, w.pod.Spec.Resources
	}
	return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
		ips, err := w.createSandbox(ctx, pod, a.Attempt, netns, ips)
		return func(now time.Time) {
			if err != nil {
				w.o.Sandbox.Fail(now, err)
				w.sandboxFailed(ctx, err)
				return
			}
			w.o.Sandbox.Succeed()
			w.o.IPs = ips
		}
	}
}

// createSandbox runs the pod's sandbox and returns the pod's addresses: those that the network gave or, where netns
// is not ours, those that the runtime found for it.
func (w *Worker) createSandbox(ctx context.Context, pod *corev1.Pod, attempt int, netns string, ips []netip.Addr) ([]netip.Addr, error) {
	s, err := w.sandboxSpec(ctx, pod, attempt, netns)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(w.logDir(pod), 0o755); err != nil {
		return nil, fmt.Errorf("create log directory: %w", err)
	}
	if err := w.writePodFiles(pod, ips); err != nil {
		return nil, err
	}
	if err := w.cfg.Runtime.RunSandbox(ctx, s); err != nil {
		return nil, err
	}
	if netns != "" || s.HostNetwork {
		return ips, nil
	}
	st, err := w.cfg.Runtime.SandboxStatus(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	return st.IPs, w.writePodFiles(pod, st.IPs)
}

func (w *Worker) sandboxSpec(ctx context.Context, pod *corev1.Pod, attempt int, netns string) (runtime.Sandbox, error) {
	handler, err := w.runtimeHandler(ctx, pod)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	ids, err := w.userNamespace(pod)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	host, err := w.cfg.naming().KernelHostname(pod)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	s := runtime.Sandbox{
		ID: lifecycle.SandboxID(pod, attempt), PodUID: string(pod.UID), Namespace: pod.Namespace, Pod: pod.Name,
		Hostname: host, NetNS: netns,
		HostNetwork: pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC, UserNS: ids,
		SharedPID:    pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace,
		CgroupParent: cgroup.Parent(w.cfg.CgroupRoot, pod),
		Resources:    w.cfg.Cgroups.Pod(pod),
		LogDir:       w.logDir(pod),
		Attempt:      attempt, Labels: sandboxLabels(pod), Annotations: pod.Annotations,
		Handler: handler,
	}
	if !s.HostNetwork {
		s.Ports = hostPorts(pod)
	}
	if sc := pod.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		s.Sysctls = make(map[string]string, len(sc.Sysctls))
		for _, kv := range sc.Sysctls {
			s.Sysctls[kv.Name] = kv.Value
		}
	}
	if w.cfg.Allocator != nil {
		w.cfg.Allocator.Sandbox(pod, &s.Resources)
	}
	return s, nil
}

// runtimeHandler is what the pod's RuntimeClass asks the runtime for.
func (w *Worker) runtimeHandler(ctx context.Context, pod *corev1.Pod) (string, error) {
	name := pod.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return "", nil
	}
	rc, err := api.RuntimeClasses.Get(ctx, w.cfg.Client, "", *name)
	if err != nil {
		return "", fmt.Errorf("failed to get RuntimeClass %q: %w", *name, err)
	}
	return rc.Handler, nil
}

func (w *Worker) dropStale(a lifecycle.Action) carry {
	return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
		err := errors.Join(w.cfg.Runtime.StopSandbox(ctx, a.ID), w.cfg.Network.Detach(ctx, a.ID))
		return func(time.Time) {
			if err != nil {
				w.log.Warn("Stopping a stale sandbox failed", "sandbox", a.ID, "err", err)
			}
			for i, id := range w.o.Stale {
				if id == a.ID {
					w.o.Stale = append(w.o.Stale[:i:i], w.o.Stale[i+1:]...)
					break
				}
			}
		}
	}
}

func (w *Worker) remove(a lifecycle.Action) carry {
	return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
		err := w.removeContainer(ctx, pod, a)
		return func(time.Time) {
			if err != nil {
				w.log.Warn("Removing a dead container failed", "container", a.ID, "err", err)
			}
			if r := w.o.Record(a.Container); a.Reset {
				r.BeginAgain()
			} else {
				r.Drop(a.ID)
			}
		}
	}
}

// removeContainer removes the record of a dead container and its log, the log first: afterwards nobody would know
// of it.
func (w *Worker) removeContainer(ctx context.Context, pod *corev1.Pod, a lifecycle.Action) error {
	s, err := w.cfg.Runtime.Status(ctx, a.ID)
	if err == nil && !a.KeepLog {
		err = errors.Join(logs.RemoveLog(s.LogPath), w.cfg.LogLinks.Remove(pod.Namespace, pod.Name, a.Container, a.ID))
	}
	if err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return err
	}
	return w.cfg.Runtime.RemoveContainer(ctx, a.ID)
}

// teardown undoes everything; each part is idempotent, so a crash or an error in the middle is repaired by
// doing it all again.
func (w *Worker) teardown(a lifecycle.Action) carry {
	last := w.o.Attempt
	return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
		err := w.clean(ctx, pod, last, a.Records)
		return func(now time.Time) {
			if err != nil {
				w.log.Warn("Cleaning up after a pod failed; it will be retried", "err", err)
				w.o.Teardown.Fail(now, err)
				return
			}
			w.o.Teardown = lifecycle.Step{}
			w.o.TornDown, w.o.Removed = true, a.Records
			w.o.NetNS = ""
			w.o.Network, w.o.Volumes, w.o.Sandbox = lifecycle.Step{}, lifecycle.Step{}, lifecycle.Step{}
			w.quit()
		}
	}
}

func (w *Worker) clean(ctx context.Context, pod *corev1.Pod, last int, records bool) error {
	var errs []error
	for i := 0; i <= last; i++ {
		id := lifecycle.SandboxID(pod, i)
		errs = append(errs, w.cfg.Runtime.StopSandbox(ctx, id))
		if records {
			errs = append(errs, w.cfg.Runtime.RemoveSandbox(ctx, id))
		}
		if !pod.Spec.HostNetwork {
			errs = append(errs, w.cfg.Network.Detach(ctx, id))
		}
	}
	errs = append(errs, w.cfg.Volumes.Unmount(ctx, pod.UID), w.releaseScarce(ctx, pod))
	if err := errors.Join(errs...); err != nil || !records {
		return err
	}
	return errors.Join(w.releaseIDs(pod), os.RemoveAll(w.podDir(pod)), os.RemoveAll(w.logDir(pod)),
		w.cfg.LogLinks.RemovePod(pod.Namespace, pod.Name, w.logDir(pod)))
}

func (w *Worker) podDir(pod *corev1.Pod) string {
	return filepath.Join(w.cfg.PodsDir, string(pod.UID))
}

// logDir is where kubectl logs and log collectors find the pod's logs.
func (w *Worker) logDir(pod *corev1.Pod) string { return LogDir(w.cfg.LogsDir, pod) }

// LogDir returns the directory of a pod's logs under root.
func LogDir(root string, pod *corev1.Pod) string {
	return filepath.Join(root, fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID))
}

// stopContext is shared by the stops under way, so that all can be cut short at once.
func (w *Worker) stopContext(ctx context.Context) context.Context {
	if w.stopping == nil || w.stopping.Err() != nil {
		w.stopping, w.stops = context.WithCancel(ctx)
	}
	return w.stopping
}
