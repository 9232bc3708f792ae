package lifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// MinimumGrace is what a container gets even when others have used up the pod's grace period.
const MinimumGrace = 2 * time.Second

// terminate takes the pod down: containers, then everything around them, then the API object.
func (p *planner) terminate() {
	if !p.stopAll(PodGrace(p.pod, p.o.Verdict)) {
		return
	}
	deleting := p.pod.DeletionTimestamp != nil || p.o.Gone
	p.teardown(deleting || p.o.Reclaim)
	switch {
	case !deleting || !p.o.Removed:
	case p.o.Gone || p.o.Deleted:
		p.add(Action{Op: Finish})
	case p.o.Reported && p.due(p.o.Delete):
		p.add(Action{Op: Delete})
	}
}

// windDown cleans up after a pod that ended by itself. Its records stay: logs must be readable until the
// object is deleted or the disk is short.
func (p *planner) windDown() {
	if p.stopAll(PodGrace(p.pod, p.o.Verdict)) {
		p.teardown(p.o.Reclaim)
	}
}

func (p *planner) teardown(records bool) {
	if p.o.Removed || (p.o.TornDown && !records) {
		return
	}
	if p.busyApartFrom(Teardown, Delete) {
		return // its result comes first: it may still create something
	}
	if p.due(p.o.Teardown) {
		p.add(Action{Op: Teardown, Records: records})
	}
}

func (p *planner) busyApartFrom(ops ...Op) bool {
	n := len(p.o.Busy)
	for _, op := range ops {
		if p.o.Busy[string(op)] {
			n--
		}
	}
	return n > 0
}

// stopAll stops what runs and reports whether nothing does. Sidecars outlive the containers they serve
// and go in reverse order of their start.
func (p *planner) stopAll(grace time.Duration) bool {
	left := grace
	if !p.o.KillSince.IsZero() {
		left = max(grace-p.now.Sub(p.o.KillSince), min(grace, MinimumGrace))
	}
	stopped := true
	for i := range p.pod.Spec.Containers {
		stopped = p.gone(&p.pod.Spec.Containers[i], left) && stopped
	}
	for i := range p.pod.Spec.EphemeralContainers {
		stopped = p.gone((*corev1.Container)(&p.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon), left) && stopped
	}
	for i := range p.pod.Spec.InitContainers {
		if c := &p.pod.Spec.InitContainers[i]; !IsSidecar(c) {
			stopped = p.gone(c, left) && stopped
		}
	}
	if !stopped {
		p.announce(left)
		return false
	}
	return p.stopSidecars(left)
}

// stopSidecars stops the last sidecar that runs, and reports whether none does.
func (p *planner) stopSidecars(left time.Duration) bool {
	for i := len(p.pod.Spec.InitContainers) - 1; i >= 0; i-- {
		c := &p.pod.Spec.InitContainers[i]
		if !IsSidecar(c) {
			continue
		}
		if p.o.Busy[Action{Op: PreStop, Container: c.Name}.Key()] {
			return false // its hook ends first
		}
		if !p.gone(c, left) {
			p.announce(left)
			return false
		}
	}
	return true
}

// gone reports whether a container does not run, and stops one that does.
func (p *planner) gone(c *corev1.Container, left time.Duration) bool {
	if p.o.Busy[Action{Op: Start, Container: c.Name}.Key()] {
		return false
	}
	r := p.o.Containers[c.Name]
	if r == nil || !r.Running() {
		return true
	}
	p.stop(r, Action{Op: Stop, Container: c.Name, ID: r.Current.ID, Grace: left, Message: "Stopping container " + c.Name})
	return false
}

// announce tells sidecars that the pod ends, though their own turn has not come: their hooks run at the same time
// as everybody's.
func (p *planner) announce(left time.Duration) {
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		r := p.rec(c.Name)
		if IsSidecar(c) && r.Running() && r.Announced != r.Current.ID && !p.stopping(c) {
			p.add(Action{Op: PreStop, Container: c.Name, ID: r.Current.ID, Grace: left, Message: "Stopping container " + c.Name})
		}
	}
}

// stopping reports whether the container is being stopped already, or is going to be by this plan.
func (p *planner) stopping(c *corev1.Container) bool {
	key := Action{Op: Stop, Container: c.Name}.Key()
	return p.o.Busy[key] || slices.ContainsFunc(p.out.Actions, func(a Action) bool { return a.Key() == key })
}

// stop adds a stop, unless an earlier one has just failed.
func (p *planner) stop(r *Record, a Action) {
	if p.now.Before(r.StopAt) {
		p.wakeAt(r.StopAt)
		return
	}
	p.add(a)
}

// PodGrace returns how long the pod as a whole may take to stop.
func PodGrace(pod *corev1.Pod, v *Verdict) time.Duration {
	if v != nil && v.Grace != nil {
		return *v.Grace
	}
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		return time.Duration(max(*s, 1)) * time.Second
	}
	return specGrace(pod)
}

func specGrace(pod *corev1.Pod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(max(*s, 1)) * time.Second
	}
	return corev1.DefaultTerminationGracePeriodSeconds * time.Second
}

// graceFor returns the grace of a container that is killed while its pod lives on. The probe that failed may have
// its own.
func graceFor(pod *corev1.Pod, c *corev1.Container, why Ailment) time.Duration {
	probe := map[Ailment]*corev1.Probe{FailedStartup: c.StartupProbe, FailedLiveness: c.LivenessProbe}[why]
	if probe != nil && probe.TerminationGracePeriodSeconds != nil {
		return time.Duration(*probe.TerminationGracePeriodSeconds) * time.Second
	}
	return specGrace(pod)
}
