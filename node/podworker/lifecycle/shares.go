package lifecycle

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// A Resizing is a change of resources that waits or is under way.
type Resizing struct {
	Failure
	Generation int64 // of the spec that asked for it
}

// resizable are the resources that a running container's share of can be changed.
var resizable = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// SameResources reports whether a and b ask for the same of what can be changed.
func SameResources(a, b *corev1.ResourceRequirements) bool {
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

// WithResources returns the container with what the node has granted it, which a pending resize keeps from
// being what the spec asks for.
func (r *Record) WithResources(c *corev1.Container) *corev1.Container {
	if r.Granted == nil || SameResources(r.Granted, &c.Resources) {
		return c
	}
	granted := *c
	granted.Resources = *r.Granted
	return &granted
}

// resizing reports whether anything that runs has not got yet what it has been granted.
func (o *Observed) ResizeUnderWay() bool {
	for _, r := range o.Containers {
		if o.Resizing != nil && r.Replacing || r.Running() && o.outgrown(r) {
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
	has, wants := o.Shares(r)
	return !SameResources(has, wants)
}

// Shares returns what a container has and what it has been granted: without a limit of its own, what its pod has.
func (o *Observed) Shares(r *Record) (has, wants *corev1.ResourceRequirements) {
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
	return o.Granted != nil && o.Applied != nil && !SameResources(o.Granted, o.Applied)
}
