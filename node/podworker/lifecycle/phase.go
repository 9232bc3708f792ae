package lifecycle

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
)

// phase sums the containers up. A verdict of the node prevails once nothing runs any more: who waits for a final
// phase may take the pod's place then. A final phase never changes again.
func (r *reporter) phase(inits, regular []corev1.ContainerStatus) (p corev1.PodPhase, reason, message string) {
	was := r.pod.Status
	if v := r.o.Verdict; v != nil && !r.o.mayRun() {
		return v.Phase, v.Reason, v.Message
	}
	if was.Phase == corev1.PodSucceeded || was.Phase == corev1.PodFailed {
		return was.Phase, was.Reason, was.Message
	}
	p = r.countPhase(inits, regular)
	ending := r.pod.DeletionTimestamp != nil || r.o.Gone
	if ending && !r.o.AnyRunning() && r.o.TornDown && p != corev1.PodSucceeded {
		// Once every process of a deleted pod is gone nothing will run again: the phase must be final.
		p = r.finalPhase(regular)
	}
	return p, "", ""
}

// finalPhase is the phase of a pod whose containers will not be started again.
func (r *reporter) finalPhase(regular []corev1.ContainerStatus) corev1.PodPhase {
	for _, s := range regular {
		if s.State.Terminated == nil || s.State.Terminated.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

// tally counts containers by what they do.
type tally struct {
	pending                   int // init containers that have not done their part
	failed                    bool
	running, waiting          int
	stopped, final, succeeded int // final: not to be started again
}

// countPhase sums up what the containers' statuses say, by upstream's rules.
func (r *reporter) countPhase(inits, regular []corev1.ContainerStatus) corev1.PodPhase {
	var t tally
	for i := range r.pod.Spec.InitContainers {
		if c := &r.pod.Spec.InitContainers[i]; IsSidecar(c) {
			r.countSidecar(&inits[i], &t)
		} else {
			r.countInit(c, &inits[i], &t)
		}
	}
	for i := range regular {
		r.countRegular(&regular[i], &t)
	}
	switch {
	case t.failed:
		return corev1.PodFailed
	case t.pending > 0, t.waiting > 0:
		return corev1.PodPending
	case t.running > 0:
		return corev1.PodRunning
	case t.stopped != t.final:
		return corev1.PodRunning // all down for the moment, but some will be started again
	case t.stopped == t.succeeded:
		return corev1.PodSucceeded
	}
	return corev1.PodFailed
}

// again reports whether a container that ended so is started again.
func (r *reporter) again(c *corev1.Container, t *corev1.ContainerStateTerminated) bool {
	return t.Reason == restartingAllReason || restartingAll(r.pod, r.o) || ShouldRestart(r.pod, c, int(t.ExitCode))
}

func (r *reporter) countInit(c *corev1.Container, s *corev1.ContainerStatus, t *tally) {
	ended := s.State.Terminated
	if ended == nil && s.State.Waiting != nil {
		ended = s.LastTerminationState.Terminated
	}
	switch {
	case r.initialized:
	case ended == nil:
		t.pending++
	case ended.ExitCode != 0 && !r.again(c, ended):
		t.failed = true
	}
}

func (r *reporter) countSidecar(s *corev1.ContainerStatus, t *tally) {
	switch {
	case s.State.Running != nil:
		t.running++
		if !r.initialized && !*s.Started {
			t.pending++
		}
	case s.State.Waiting != nil && s.LastTerminationState.Terminated == nil:
		t.waiting++
	}
}

func (r *reporter) countRegular(s *corev1.ContainerStatus, t *tally) {
	ended := s.State.Terminated
	if s.State.Waiting != nil {
		ended = s.LastTerminationState.Terminated
	}
	switch {
	case s.State.Running != nil:
		t.running++
	case ended == nil:
		t.waiting++
	default:
		t.stopped++
		if !r.again(containers.Named(&r.pod.Spec, s.Name), ended) {
			t.final++
		}
		if s.State.Terminated != nil && ended.ExitCode == 0 {
			t.succeeded++
		}
	}
}
