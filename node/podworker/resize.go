package podworker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
	"clipper/node/podworker/lifecycle"
)

// deferredRetry is the pause before a node without room for a resize is asked again.
const deferredRetry = 5 * time.Second

// grant takes what the spec asks for as granted, if the node has it; else it notes why the resize waits.
func (w *Worker) grant() {
	if !w.resizeAsked() {
		w.o.ResizePending = nil
		return
	}
	if w.cfg.Resizable != nil {
		if reason, message := w.cfg.Resizable(w.pod); reason != "" {
			w.resizePends(resizing(reason, message, w.pod.Generation))
			return
		}
	}
	w.o.ResizePending = nil
	w.eachContainer(func(c *corev1.Container, r *lifecycle.Record) {
		if r.Granted != nil {
			r.Granted = &c.Resources
		}
	})
	if w.o.Granted != nil {
		w.o.Granted = w.pod.Spec.Resources
	}
	w.o.Resizing, w.o.Outdated = &lifecycle.Resizing{Generation: w.pod.Generation}, true
	w.event("", corev1.EventTypeNormal, "ResizeStarted", "Pod resize started: %s", summary(w.pod, w.pod.Generation, ""))
}

// resizeAsked reports whether the spec asks for something else than what has been granted.
func (w *Worker) resizeAsked() bool {
	asked := w.o.Granted != nil && w.pod.Spec.Resources != nil && !lifecycle.SameResources(w.o.Granted, w.pod.Spec.Resources)
	w.eachContainer(func(c *corev1.Container, r *lifecycle.Record) {
		asked = asked || r.Granted != nil && !lifecycle.SameResources(r.Granted, &c.Resources)
	})
	return asked
}

func (w *Worker) resizePends(now lifecycle.Resizing) {
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

func resizing(reason, message string, generation int64) lifecycle.Resizing {
	return lifecycle.Resizing{Failure: lifecycle.Failure{Reason: reason, Message: message}, Generation: generation}
}

// noteResized tells that a resize is done.
func (w *Worker) noteResized() {
	if w.o.Resizing == nil || w.o.ResizeUnderWay() {
		return
	}
	w.event("", corev1.EventTypeNormal, "ResizeCompleted", "Pod resize completed: %s", summary(w.grantedPod(), w.o.Resizing.Generation, ""))
	w.o.Resizing = nil
}

// resizeFailed tells why a resize does not get on.
func (w *Worker) resizeFailed(err error) {
	now := resizing(corev1.PodReasonError, err.Error(), w.pod.Generation)
	if w.o.Resizing != nil {
		now.Generation = w.o.Resizing.Generation
		if *w.o.Resizing == now {
			return
		}
	}
	w.o.Resizing = &now
	w.event("", corev1.EventTypeWarning, "ResizeError", "Pod resize error: %s", summary(w.grantedPod(), now.Generation, now.Message))
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
func (w *Worker) eachContainer(fn func(*corev1.Container, *lifecycle.Record)) {
	for i := range w.pod.Spec.Containers {
		fn(&w.pod.Spec.Containers[i], w.o.Record(w.pod.Spec.Containers[i].Name))
	}
	for i := range w.pod.Spec.InitContainers {
		fn(&w.pod.Spec.InitContainers[i], w.o.Record(w.pod.Spec.InitContainers[i].Name))
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
	for c := range containers.Of(&p.Spec) {
		if r := w.o.Containers[c.Name]; r != nil {
			*c = *r.WithResources(c)
		}
	}
	return &p
}

// resize applies what a running container has been granted. The pod's own limits are set before and after:
// a container must not outgrow them, nor they cut off a container that has not shrunk yet.
func (w *Worker) resize(a lifecycle.Action) carry {
	pod := w.grantedPod()
	r := w.o.Record(a.Container)
	c, granted, whole := containers.Named(&pod.Spec, a.Container), r.Granted, w.o.Granted
	had, want := w.o.Shares(r)
	sandbox := lifecycle.SandboxID(w.pod, w.o.Attempt)
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
	sandbox := lifecycle.SandboxID(w.pod, w.o.Attempt)
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
	w.eachContainer(func(c *corev1.Container, r *lifecycle.Record) {
		if !r.Running() {
			return
		}
		r.Applied = &c.Resources
		for s := range containers.Statuses(&w.pod.Status) {
			if s.Name == c.Name && s.Resources != nil && s.ContainerID == w.o.FullID(r.Current.ID) {
				r.Applied = s.Resources
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
		w.eachContainer(func(_ *corev1.Container, r *lifecycle.Record) { r.AppliedPod = w.o.Applied })
	}
}
