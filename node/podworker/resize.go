package podworker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// resizable are the resources that a running container's share of can be changed.
var resizable = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// sameResources reports whether a and b ask for the same of what can be changed.
func sameResources(a, b *corev1.ResourceRequirements) bool {
	for _, n := range resizable {
		if changed(a, b, n) {
			return false
		}
	}
	return true
}

func changed(a, b *corev1.ResourceRequirements, n corev1.ResourceName) bool {
	return differ(a.Requests, b.Requests, n) || differ(a.Limits, b.Limits, n)
}

func differ(a, b corev1.ResourceList, n corev1.ResourceName) bool {
	x, y := a[n], b[n]
	return x.Cmp(y) != 0
}

// needsRestart reports whether going from a to b takes a restart, by the container's resize policy.
func needsRestart(c *corev1.Container, a, b *corev1.ResourceRequirements) bool {
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer && changed(a, b, p.ResourceName) {
			return true
		}
	}
	return false
}

// withResources returns the container with what the node has granted it, which a pending resize keeps from
// being what the spec asks for.
func (r *Record) withResources(c *corev1.Container) *corev1.Container {
	if r.Granted == nil || sameResources(r.Granted, &c.Resources) {
		return c
	}
	granted := *c
	granted.Resources = *r.Granted
	return &granted
}

// deferredRetry is the pause before a node without room for a resize is asked again.
const deferredRetry = 5 * time.Second

// A Resizing is a change of resources that waits or is under way.
type Resizing struct {
	Failure
	Generation int64 // of the spec that asked for it
}

// grant takes what the spec asks for as granted, if the node has it; else it notes why the resize waits.
func (w *Worker) grant() {
	if !w.resizeAsked() {
		w.o.ResizePending = nil
		return
	}
	if w.cfg.Resizable != nil {
		if reason, message := w.cfg.Resizable(w.pod); reason != "" {
			w.resizePends(Resizing{Failure{reason, message}, w.pod.Generation})
			return
		}
	}
	w.o.ResizePending = nil
	w.eachContainer(func(c *corev1.Container, r *Record) {
		if r.Granted != nil {
			r.Granted = &c.Resources
		}
	})
	if w.o.Granted != nil {
		w.o.Granted = w.pod.Spec.Resources
	}
	w.o.Resizing, w.o.Outdated = &Resizing{Generation: w.pod.Generation}, true
	w.event("", corev1.EventTypeNormal, "ResizeStarted", "Pod resize started: %s", summary(w.pod, w.pod.Generation, ""))
}

// resizeAsked reports whether the spec asks for something else than what has been granted.
func (w *Worker) resizeAsked() bool {
	asked := w.o.Granted != nil && w.pod.Spec.Resources != nil && !sameResources(w.o.Granted, w.pod.Spec.Resources)
	w.eachContainer(func(c *corev1.Container, r *Record) {
		asked = asked || r.Granted != nil && !sameResources(r.Granted, &c.Resources)
	})
	return asked
}

func (w *Worker) resizePends(now Resizing) {
	w.grantAt = time.Now().Add(deferredRetry)
	if w.o.ResizePending != nil && *w.o.ResizePending == now {
		return
	}
	w.o.ResizePending = &now
	w.event("", corev1.EventTypeWarning, "Resize"+now.Reason, "Pod resize %s: %s", now.Reason, summary(w.pod, now.Generation, now.Message))
}

// retryResize asks again for what the node had no room for. It returns when to call it again.
func (w *Worker) retryResize(now time.Time) time.Time {
	if p := w.o.ResizePending; p == nil || p.Reason != corev1.PodReasonDeferred {
		return time.Time{}
	}
	if !now.Before(w.grantAt) {
		w.grant()
	}
	if w.o.ResizePending == nil {
		return now
	}
	return w.grantAt
}

// noteResized tells that a resize is done.
func (w *Worker) noteResized() {
	if w.o.Resizing == nil || w.o.resizing() {
		return
	}
	w.event("", corev1.EventTypeNormal, "ResizeCompleted", "Pod resize completed: %s", summary(w.grantedPod(), w.o.Resizing.Generation, ""))
	w.o.Resizing = nil
}

// resizeFailed tells why a resize does not get on.
func (w *Worker) resizeFailed(err error) {
	now := Resizing{Failure{corev1.PodReasonError, err.Error()}, w.pod.Generation}
	if w.o.Resizing != nil {
		now.Generation = w.o.Resizing.Generation
		if *w.o.Resizing == now {
			return
		}
	}
	w.o.Resizing = &now
	w.event("", corev1.EventTypeWarning, "ResizeError", "Pod resize error: %s", summary(w.grantedPod(), now.Generation, now.Message))
}

// resizing reports whether anything that runs has not got yet what it has been granted.
func (o *Observed) resizing() bool {
	for _, r := range o.Containers {
		if o.Resizing != nil && r.Replacing || r.running() && o.outgrown(r) {
			return true
		}
	}
	return o.podResizing()
}

// outgrown reports whether a container has not got yet what it has been granted.
func (o *Observed) outgrown(r *Record) bool {
	if r.Granted == nil || r.Applied == nil {
		return false
	}
	has, wants := o.shares(r)
	return !sameResources(has, wants)
}

// shares returns what a container has and what it has been granted: without a limit of its own, what its pod has.
func (o *Observed) shares(r *Record) (has, wants *corev1.ResourceRequirements) {
	return within(r.Applied, r.AppliedPod), within(r.Granted, o.Granted)
}

func within(c, pod *corev1.ResourceRequirements) *corev1.ResourceRequirements {
	if pod == nil {
		return c
	}
	out := &corev1.ResourceRequirements{Requests: c.Requests, Limits: maps.Clone(c.Limits)}
	for _, n := range resizable {
		own, whole := c.Limits[n], pod.Limits[n]
		if own.IsZero() && !whole.IsZero() {
			set(&out.Limits, n, whole)
		}
	}
	return out
}

// podResizing is resizing for the pod's own resources.
func (o *Observed) podResizing() bool {
	return o.Granted != nil && o.Applied != nil && !sameResources(o.Granted, o.Applied)
}

// summary is what events about resizes show of the pod.
func summary(pod *corev1.Pod, generation int64, fault string) string {
	type container struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources"`
	}
	out := struct {
		InitContainers []container `json:"initContainers,omitempty"`
		Containers     []container `json:"containers,omitempty"`
		Generation     int64       `json:"generation"`
		Error          string      `json:"error,omitempty"`
	}{Generation: generation, Error: fault}
	for i := range pod.Spec.InitContainers {
		out.InitContainers = append(out.InitContainers, container{pod.Spec.InitContainers[i].Name, pod.Spec.InitContainers[i].Resources})
	}
	for i := range pod.Spec.Containers {
		out.Containers = append(out.Containers, container{pod.Spec.Containers[i].Name, pod.Spec.Containers[i].Resources})
	}
	text, err := json.Marshal(out)
	if err != nil {
		return err.Error() // names and quantities always encode
	}
	return string(text)
}

// eachContainer visits the containers whose resources can be changed.
func (w *Worker) eachContainer(fn func(*corev1.Container, *Record)) {
	for i := range w.pod.Spec.Containers {
		fn(&w.pod.Spec.Containers[i], w.o.record(w.pod.Spec.Containers[i].Name))
	}
	for i := range w.pod.Spec.InitContainers {
		fn(&w.pod.Spec.InitContainers[i], w.o.record(w.pod.Spec.InitContainers[i].Name))
	}
}

// grantedPod returns the pod with what its containers have been granted.
func (w *Worker) grantedPod() *corev1.Pod {
	p := *w.pod
	if w.o.Granted != nil {
		p.Spec.Resources = w.o.Granted
	}
	p.Spec.Containers = append([]corev1.Container(nil), p.Spec.Containers...)
	p.Spec.InitContainers = append([]corev1.Container(nil), p.Spec.InitContainers...)
	for _, cs := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range cs {
			if r := w.o.Containers[cs[i].Name]; r != nil {
				cs[i] = *r.withResources(&cs[i])
			}
		}
	}
	return &p
}

// resize applies what a running container has been granted. The pod's own limits are set before and after:
// a container must not outgrow them, nor they cut off a container that has not shrunk yet.
func (w *Worker) resize(a Action) carry {
	pod := w.grantedPod()
	r := w.o.record(a.Container)
	c, granted, whole := findContainer(pod, a.Container), r.Granted, w.o.Granted
	had, want := w.o.shares(r)
	sandbox := sandboxID(w.pod, w.o.Attempt)
	return func(ctx context.Context, _ *corev1.Pod) func(time.Time) {
		err := w.checkShrink(ctx, c.Name, a.ID, had, want)
		if err == nil {
			err = w.inRoom(ctx, pod, sandbox, func() error {
				return w.cfg.Runtime.UpdateResources(ctx, a.ID, w.cfg.Cgroups.Container(pod, c))
			})
		}
		return func(now time.Time) {
			if err != nil && ctx.Err() == nil {
				w.log.Warn("Resizing a container failed; it will be retried", "container", a.Container, "err", err)
				w.resizeFailed(err)
				r.ResizeAt = now.Add(configRetry)
				return
			}
			w.o.Outdated = w.o.Outdated && err != nil
			if r.Current != nil && r.Current.ID == a.ID {
				r.Applied, r.AppliedPod, r.ResizeAt = granted, whole, time.Time{}
			}
		}
	}
}

// resizePod applies what the pod as a whole has been granted.
func (w *Worker) resizePod() carry {
	pod, want := w.grantedPod(), w.o.Granted
	sandbox := sandboxID(w.pod, w.o.Attempt)
	return func(ctx context.Context, _ *corev1.Pod) func(time.Time) {
		err := w.cfg.Runtime.UpdateResources(ctx, sandbox, w.cfg.Cgroups.Pod(pod))
		return func(now time.Time) {
			if err != nil && ctx.Err() == nil {
				w.log.Warn("Resizing a pod failed; it will be retried", "err", err)
				w.resizeFailed(err)
				w.o.ResizeAt = now.Add(configRetry)
				return
			}
			w.o.Applied, w.o.ResizeAt, w.o.Outdated = want, time.Time{}, w.o.Outdated && err != nil
		}
	}
}

// inRoom makes changes to containers between two attempts to set the limits of their pod: what grows needs room
// first, what shrinks makes it.
func (w *Worker) inRoom(ctx context.Context, pod *corev1.Pod, sandbox string, change func() error) error {
	whole := w.cfg.Cgroups.Pod(pod)
	first := w.cfg.Runtime.UpdateResources(ctx, sandbox, whole)
	err := change()
	if err == nil && first != nil {
		err = w.cfg.Runtime.UpdateResources(ctx, sandbox, whole)
	}
	return err
}

// checkShrink refuses a memory limit below what the container uses: the kernel would kill it.
func (w *Worker) checkShrink(ctx context.Context, name, id string, had, want *corev1.ResourceRequirements) error {
	limit, before := want.Limits.Memory(), had.Limits.Memory()
	if limit.IsZero() || !before.IsZero() && limit.Cmp(*before) >= 0 {
		return nil
	}
	stats, err := w.cfg.Runtime.Stats(ctx, id)
	if err != nil || len(stats) == 0 {
		return fmt.Errorf("cannot decrease memory limits: missing container %q memory usage", name)
	}
	if use := stats[0].MemoryUsage; use >= limit.Value() {
		return fmt.Errorf("cannot decrease memory limits: attempting to set container %q memory limit (%d) below current usage (%d)", name, limit.Value(), use)
	}
	return nil
}

// adoptResources takes what the API says that a container found running has been given.
func (w *Worker) adoptResources() {
	w.eachContainer(func(c *corev1.Container, r *Record) {
		if !r.running() {
			return
		}
		r.Applied = &c.Resources
		for _, list := range [][]corev1.ContainerStatus{w.pod.Status.ContainerStatuses, w.pod.Status.InitContainerStatuses} {
			for i := range list {
				if s := &list[i]; s.Name == c.Name && s.Resources != nil && s.ContainerID == w.o.fullID(r.Current.ID) {
					r.Applied = s.Resources
				}
			}
		}
		r.Granted = r.Applied
	})
	if spec := w.pod.Spec.Resources; spec != nil {
		w.o.Applied = spec
		if was := w.pod.Status.Resources; was != nil && w.o.Sandbox.Done {
			w.o.Applied = was
		}
		w.o.Granted = w.o.Applied
		w.eachContainer(func(_ *corev1.Container, r *Record) { r.AppliedPod = w.o.Applied })
	}
}
