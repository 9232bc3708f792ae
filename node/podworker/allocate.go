package podworker

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/podworker/lifecycle"
	"clipper/node/runtime"
)

// An Allocator hands out what a node has few of: devices, CPUs of one's own, memory of a NUMA node, resource claims.
// Package node/resources is the built-in one.
type Allocator interface {
	// Needs reports whether a pod asks for any of it. Others do not wait for anything.
	Needs(pod *corev1.Pod) bool
	// Allocate gives a pod what it asks for, again without harm. Of a pod that runs already nothing is changed. An
	// error that is a Refusal is final; any other is tried again.
	Allocate(ctx context.Context, pod *corev1.Pod, running bool) error
	// Sandbox and Container change the specifications as what was allocated demands.
	Sandbox(pod *corev1.Pod, r *runtime.Resources)
	Container(ctx context.Context, pod *corev1.Pod, c *corev1.Container, spec *runtime.Container) error
	// Release takes everything back once the pod's containers have ended.
	Release(ctx context.Context, pod *corev1.Pod) error
	// Health tells how the devices of a container are.
	Health(pod *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus
}

// A Refusal is an error for which the node turns a pod away.
type Refusal interface {
	error
	Refusal() (reason, message string)
}

// wantScarce notes whether the pod asks for something scarce. What is found running has been given what it has, but
// the allocator may not know that any more.
func (w *Worker) wantScarce() {
	w.o.Scarce = w.cfg.Allocator != nil && w.cfg.Allocator.Needs(w.pod)
}

func (w *Worker) allocate() carry {
	running := w.o.AnyRunning()
	return func(ctx context.Context, pod *corev1.Pod) func(time.Time) {
		err := w.cfg.Allocator.Allocate(ctx, pod, running)
		return func(now time.Time) {
			var refused Refusal
			switch {
			case err == nil:
				w.o.Allocated.Succeed()
				w.look()
			case ctx.Err() != nil:
			case errors.As(err, &refused):
				w.turnAway(refused)
			default:
				w.o.Allocated.Fail(now, err)
				w.event("", corev1.EventTypeWarning, "FailedPrepareDynamicResources", "Failed to prepare dynamic resources: %v", err)
			}
		}
	}
}

// turnAway ends a pod that this node cannot run.
func (w *Worker) turnAway(r Refusal) {
	reason, message := r.Refusal()
	w.event("", corev1.EventTypeWarning, reason, "%s", message)
	w.o.Verdict = &lifecycle.Verdict{Phase: corev1.PodFailed, Reason: reason, Message: "Pod was rejected: " + message, Rejected: true}
}

// DevicesChanged tells the worker that a device of its pod has become healthy or unhealthy.
func (w *Worker) DevicesChanged() { w.post(w.look) }

// look asks how the pod's devices are.
func (w *Worker) look() {
	w.o.Health = map[string][]corev1.ResourceStatus{}
	for i := range w.pod.Spec.Containers {
		c := &w.pod.Spec.Containers[i]
		if health := w.cfg.Allocator.Health(w.pod, c); len(health) > 0 {
			w.o.Health[c.Name] = health
		}
	}
}

// giveScarce adds what the pod has been allocated to a container's specification.
func (w *Worker) giveScarce(ctx context.Context, pod *corev1.Pod, c *corev1.Container, spec *runtime.Container) error {
	if w.cfg.Allocator == nil {
		return nil
	}
	return w.cfg.Allocator.Container(ctx, pod, c, spec)
}

// releaseScarce gives back what the pod has been allocated.
func (w *Worker) releaseScarce(ctx context.Context, pod *corev1.Pod) error {
	if w.cfg.Allocator == nil {
		return nil
	}
	return w.cfg.Allocator.Release(ctx, pod)
}
