package podworker

import (
	"context"
	"errors"
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

// grant takes what the spec asks for as granted, if the node has it; else it notes why the resize waits.
func (w *Worker) grant() {
	asked := false
	w.eachContainer(func(c *corev1.Container, r *Record) {
		asked = asked || r.Granted != nil && !sameResources(r.Granted, &c.Resources)
	})
	w.o.ResizePending = nil
	if !asked {
		return
	}
	if w.cfg.Resizable != nil {
		if reason, message := w.cfg.Resizable(w.pod); reason != "" {
			w.o.ResizePending = &Failure{reason, message}
			return
		}
	}
	w.eachContainer(func(c *corev1.Container, r *Record) {
		if r.Granted != nil {
			r.Granted = &c.Resources
		}
	})
}

// eachContainer visits the containers whose resources can be changed.
func (w *Worker) eachContainer(fn func(*corev1.Container, *Record)) {
	for i := range w.pod.Spec.Containers {
		fn(&w.pod.Spec.Containers[i], w.o.record(w.pod.Spec.Containers[i].Name))
	}
	for i := range w.pod.Spec.InitContainers {
		if c := &w.pod.Spec.InitContainers[i]; isSidecar(c) {
			fn(c, w.o.record(c.Name))
		}
	}
}

// grantedPod returns the pod with what its containers have been granted.
func (w *Worker) grantedPod() *corev1.Pod {
	p := *w.pod
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
	c, want := findContainer(pod, a.Container), r.Granted
	sandbox := sandboxID(w.pod, w.o.Attempt)
	return func(ctx context.Context, _ *corev1.Pod) func(time.Time) {
		whole := w.cfg.Cgroups.Pod(pod)
		first := w.cfg.Runtime.UpdateResources(ctx, sandbox, whole)
		err := w.cfg.Runtime.UpdateResources(ctx, a.ID, w.cfg.Cgroups.Container(pod, c))
		if err == nil && first != nil {
			err = w.cfg.Runtime.UpdateResources(ctx, sandbox, whole)
		}
		return func(now time.Time) {
			if err != nil && ctx.Err() == nil {
				w.log.Warn("Resizing a container failed; it will be retried", "container", a.Container, "err", errors.Join(first, err))
				r.ResizeAt = now.Add(configRetry)
				return
			}
			if r.Current != nil && r.Current.ID == a.ID {
				r.Applied, r.ResizeAt = want, time.Time{}
			}
		}
	}
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
}
