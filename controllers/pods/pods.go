// Package pods holds what workload controllers know about pods: their condition, which one to lose first,
// how to make one from a template and delete it, with the events that tell of it.
package pods

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Active says whether p still counts: neither finished nor being deleted.
func Active(p *corev1.Pod) bool { return !Finished(p) && p.DeletionTimestamp == nil }

// Finished says whether all containers of p have ended for good.
func Finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Filter returns the pods that keep wants, in a new slice.
func Filter(all []*corev1.Pod, keep func(*corev1.Pod) bool) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range all {
		if keep(p) {
			out = append(out, p)
		}
	}
	return out
}

// Condition returns p's condition of a type, or nil.
func Condition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// Ready says whether p's Ready condition is true.
func Ready(p *corev1.Pod) bool {
	c := Condition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// Available says whether p has been ready for at least minReady seconds. If it is ready but not for that
// long, wait says how much longer it takes.
func Available(p *corev1.Pod, minReady int32, now time.Time) (ok bool, wait time.Duration) {
	c := Condition(p, corev1.PodReady)
	if c == nil || c.Status != corev1.ConditionTrue {
		return false, 0
	}
	if minReady == 0 {
		return true, 0
	}
	if c.LastTransitionTime.IsZero() {
		return false, 0
	}
	wait = c.LastTransitionTime.Add(time.Duration(minReady) * time.Second).Sub(now)
	return wait <= 0, max(wait, 0)
}

var phaseRank = map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}

// SortForDeletion orders pods by how little is lost with each: first those not bound, pending, not ready,
// cheap by annotation, sharing their node with many of its kind (related counts them), ready or created
// recently, restarted often. Times are compared by their order of magnitude, as upstream does, so that a
// rollout of a second's length does not decide.
func SortForDeletion(all []*corev1.Pod, related func(*corev1.Pod) int, now time.Time) {
	slices.SortStableFunc(all, func(a, b *corev1.Pod) int {
		return cmp.Or(
			compareBool(b.Spec.NodeName == "", a.Spec.NodeName == ""),
			cmp.Compare(phaseRank[a.Status.Phase], phaseRank[b.Status.Phase]),
			compareBool(Ready(a), Ready(b)),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			cmp.Compare(related(b), related(a)),
			compareTimes(readySince(a), readySince(b), now),
			cmp.Compare(maxRestarts(b, true), maxRestarts(a, true)),
			cmp.Compare(maxRestarts(b, false), maxRestarts(a, false)),
			compareTimes(a.CreationTimestamp.Time, b.CreationTimestamp.Time, now),
		)
	})
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// compareTimes puts what is younger, or has no time at all, first.
func compareTimes(a, b, now time.Time) int {
	if a.IsZero() || b.IsZero() {
		return compareBool(!a.IsZero(), !b.IsZero())
	}
	return cmp.Compare(magnitude(now.Sub(a)), magnitude(now.Sub(b)))
}

func magnitude(d time.Duration) int {
	n := 0
	for ; d > 1; d /= 2 {
		n++
	}
	return n
}

func readySince(p *corev1.Pod) time.Time {
	if c := Condition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

// maxRestarts looks at regular containers and, apart from them, at restartable init containers.
func maxRestarts(p *corev1.Pod, regular bool) int32 {
	most := int32(0)
	if regular {
		for _, s := range p.Status.ContainerStatuses {
			most = max(most, s.RestartCount)
		}
		return most
	}
	for i, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways && i < len(p.Status.InitContainerStatuses) {
			most = max(most, p.Status.InitContainerStatuses[i].RestartCount)
		}
	}
	return most
}
