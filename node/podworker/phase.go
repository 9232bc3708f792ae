package podworker

import (
	corev1 "k8s.io/api/core/v1"
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
	if ending && !r.o.anyRunning() && r.o.TornDown && p != corev1.PodSucceeded {
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

func (r *reporter) countPhase(inits, regular []corev1.ContainerStatus) corev1.PodPhase {
	pending := false
	for i := range r.pod.Spec.InitContainers {
		c, s := &r.pod.Spec.InitContainers[i], &inits[i]
		if isSidecar(c) {
			pending = pending || !r.initialized && (s.Started == nil || !*s.Started)
			continue
		}
		t := s.State.Terminated
		if t == nil {
			t = s.LastTerminationState.Terminated
			pending = pending || t == nil || t.ExitCode == 0 || !r.initialized
			continue
		}
		if t.ExitCode == 0 {
			continue
		}
		if !r.initialized && !shouldRestart(r.pod, c, int(t.ExitCode)) {
			return corev1.PodFailed
		}
		pending = true
	}
	waiting, running, stopped, succeeded := 0, 0, 0, 0
	for _, s := range regular {
		switch {
		case s.State.Running != nil:
			running++
		case s.State.Terminated != nil:
			stopped++
			if s.State.Terminated.ExitCode == 0 {
				succeeded++
			}
		case s.LastTerminationState.Terminated != nil:
			stopped++
		default:
			waiting++
		}
	}
	switch {
	case pending && !r.initialized, waiting > 0:
		return corev1.PodPending
	case running > 0:
		return corev1.PodRunning
	case !finished(r.pod, r.o):
		return corev1.PodRunning // all down for the moment, but some will be started again
	case stopped == succeeded:
		return corev1.PodSucceeded
	}
	return corev1.PodFailed
}
