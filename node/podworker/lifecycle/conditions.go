package lifecycle

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditions returns the pod's conditions: those the node owns, computed afresh with their transition
// times kept, and everyone else's as they are.
func (r *reporter) conditions(s *corev1.PodStatus) []corev1.PodCondition {
	owned := []corev1.PodCondition{
		r.readyToStart(),
		r.initializedCondition(s),
		{Type: corev1.PodReady}, // filled in below
		r.containersReady(s),
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	owned[2] = r.readyCondition(owned[3])
	if mayRestartAll(r.pod) {
		owned = append(owned, r.restartingAll(s.Phase))
	}
	if v := r.o.Verdict; v != nil && v.Condition != nil && !r.o.mayRun() {
		owned = append(owned, *v.Condition)
	}
	for i := range owned {
		if owned[i].Type != corev1.AllContainersRestarting { // upstream forgets this one
			owned[i].ObservedGeneration = r.pod.Generation
		}
		r.keepTransition(&owned[i])
	}
	var out []corev1.PodCondition // others' first, as upstream
	for _, c := range r.pod.Status.Conditions {
		if c.Type == corev1.PodResizePending || c.Type == corev1.PodResizeInProgress {
			continue // over, unless among the node's own above
		}
		if !slices.ContainsFunc(owned, func(o corev1.PodCondition) bool { return o.Type == c.Type }) {
			out = append(out, c)
		}
	}
	resizes := r.resizeConditions()
	for i := range resizes {
		r.keepTransition(&resizes[i])
	}
	return slices.Concat(out, resizes, owned)
}

// restartingAll tells whether the pod is being restarted in place.
func (r *reporter) restartingAll(phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.AllContainersRestarting, Status: corev1.ConditionFalse}
	switch {
	case phase == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
	case phase == corev1.PodFailed:
		c.Reason = "PodFailed"
	case restartingAll(r.pod, r.o):
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "RestartAllContainersStarted", "container exited with restart policy rule"
	}
	return c
}

// resizeConditions tell of a resize that waits or is under way; there are none otherwise.
func (r *reporter) resizeConditions() []corev1.PodCondition {
	var out []corev1.PodCondition
	add := func(t corev1.PodConditionType, now *Resizing) {
		out = append(out, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, ObservedGeneration: now.Generation,
			Reason: now.Reason, Message: now.Message})
	}
	if Ending(r.pod, r.o) {
		return nil
	}
	if r.o.ResizePending != nil {
		add(corev1.PodResizePending, r.o.ResizePending)
	}
	switch {
	case !r.o.ResizeUnderWay():
	case r.o.Resizing != nil:
		add(corev1.PodResizeInProgress, r.o.Resizing)
	default: // granted before the agent was started
		add(corev1.PodResizeInProgress, &Resizing{Generation: r.pod.Generation})
	}
	return out
}

func (r *reporter) keepTransition(c *corev1.PodCondition) {
	for i := range r.pod.Status.Conditions {
		if old := &r.pod.Status.Conditions[i]; old.Type == c.Type && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
			return
		}
	}
	c.LastTransitionTime = metav1.NewTime(r.now).Rfc3339Copy()
}

func boolStatus(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func (r *reporter) readyToStart() corev1.PodCondition {
	return corev1.PodCondition{Type: corev1.PodReadyToStartContainers,
		Status: boolStatus(r.o.Sandbox.Done && !r.o.TornDown)}
}

func (r *reporter) initializedCondition(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	if r.initialized || r.wasInitialized() {
		return c
	}
	var incomplete []string
	for i := range r.pod.Spec.InitContainers {
		spec, st := &r.pod.Spec.InitContainers[i], &s.InitContainerStatuses[i]
		if (IsSidecar(spec) && !*st.Started) || (!IsSidecar(spec) && !st.Ready) {
			incomplete = append(incomplete, spec.Name)
		}
	}
	if len(incomplete) > 0 {
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = fmt.Sprintf("containers with incomplete status: %s", incomplete)
	}
	return c
}

// wasInitialized reports whether the pod has been reported as initialized: that it never ceases to be, whatever
// restarts.
func (r *reporter) wasInitialized() bool {
	return slices.ContainsFunc(r.pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodInitialized && c.Status == corev1.ConditionTrue
	})
}

func (r *reporter) containersReady(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch s.Phase {
	case corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	}
	var unready []string
	for i := range r.pod.Spec.InitContainers {
		if IsSidecar(&r.pod.Spec.InitContainers[i]) && !s.InitContainerStatuses[i].Ready {
			unready = append(unready, r.pod.Spec.InitContainers[i].Name)
		}
	}
	for i := range r.pod.Spec.Containers {
		name := r.pod.Spec.Containers[i].Name
		for j := range s.ContainerStatuses {
			if st := &s.ContainerStatuses[j]; st.Name == name && !st.Ready {
				unready = append(unready, name)
			}
		}
	}
	if len(unready) > 0 {
		c.Reason, c.Message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

// readyCondition is ContainersReady and every readiness gate.
func (r *reporter) readyCondition(containers corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var unready []string
	for _, g := range r.pod.Spec.ReadinessGates {
		i := slices.IndexFunc(r.pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == g.ConditionType })
		switch {
		case i < 0:
			unready = append(unready, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", g.ConditionType))
		case r.pod.Status.Conditions[i].Status != corev1.ConditionTrue:
			unready = append(unready, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v",
				g.ConditionType, r.pod.Status.Conditions[i].Status))
		}
	}
	if len(unready) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(unready, ", ")
	}
	return c
}
