package lifecycle

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// IsInit reports whether name is that of an init container, sidecars among them.
func IsInit(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
}

// IsSidecar reports whether an init container is one that runs beside the others.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// hasInitialized reports whether any regular container has run in the pod's sandbox: init containers do not run
// again then.
func hasInitialized(pod *corev1.Pod, o *Observed) bool {
	for i := range pod.Spec.Containers {
		if r := o.Containers[pod.Spec.Containers[i].Name]; r != nil && r.Current != nil && o.inSandbox(r) {
			return true
		}
	}
	return false
}

// finished reports whether no container will ever run again: every regular one has ended for good, or an
// init container has failed for good.
func finished(pod *corev1.Pod, o *Observed) bool {
	if restartingAll(pod, o) {
		return false
	}
	if !hasInitialized(pod, o) {
		for i := range pod.Spec.InitContainers {
			c := &pod.Spec.InitContainers[i]
			r := o.Containers[c.Name]
			if !IsSidecar(c) && r != nil && r.Exited() && r.Current.ExitCode != 0 &&
				!ShouldRestart(pod, c, r.Current.ExitCode) {
				return true
			}
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		r := o.Containers[c.Name]
		if r == nil || !r.Exited() || r.Replacing || ShouldRestart(pod, c, r.Current.ExitCode) {
			return false
		}
	}
	return true
}

// Ending reports whether nothing of the pod will be started any more: it goes, and its sandbox with it.
func Ending(pod *corev1.Pod, o *Observed) bool {
	return o.Verdict != nil || pod.DeletionTimestamp != nil || o.Gone || finished(pod, o)
}
