package replicaset

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"clipper/controllers/pods"
)

// burst caps one reconcile's writes, so that a scale to 10,000 cannot starve the rest. Upstream's figure.
const burst = 500

// A Plan is what one reconcile does; at most one of its fields is set.
type Plan struct {
	Create int
	Delete []*corev1.Pod // the cheapest to lose first
}

// plan decides how s reaches its wanted number of pods at the time now. mine are those it controls, at
// least as fresh as the last write made for it. related counts, for a pod, those on its node that serve
// the same purpose: losing one of many is cheapest.
func plan(s *set, mine []*corev1.Pod, related func(*corev1.Pod) int, now time.Time) Plan {
	if s.object.GetDeletionTimestamp() != nil {
		return Plan{} // the garbage collector owns the pods now; scaling would fight it
	}
	active := pods.Filter(mine, pods.Active) // a terminating pod's replacement need not wait for it
	surplus := len(active) - int(s.replicas)
	if surplus <= 0 {
		return Plan{Create: min(-surplus, burst)}
	}
	pods.SortForDeletion(active, related, now)
	n := min(surplus, burst)
	return Plan{Delete: active[:n:n]}
}

// status counts mine. failure is what creating or deleting pods came to, under the reason. wait says when
// the next pod becomes available by the mere passing of time; 0: none does.
func (s *set) next(mine []*corev1.Pod, failure error, reason string, now time.Time) (st status, wait time.Duration) {
	st = s.status.clone()
	st.ObservedGeneration = s.object.GetGeneration()
	st.Replicas, st.FullyLabeledReplicas, st.ReadyReplicas, st.AvailableReplicas = 0, 0, 0, 0
	terminating := int32(0)
	template := labels.Set(s.template.Labels).AsSelectorPreValidated()
	for _, p := range mine {
		if !pods.Active(p) {
			if p.DeletionTimestamp != nil && !pods.Finished(p) {
				terminating++
			}
			continue
		}
		st.Replicas++
		if template.Matches(labels.Set(p.Labels)) {
			st.FullyLabeledReplicas++
		}
		if pods.Ready(p) {
			st.ReadyReplicas++
		}
		switch ok, w := pods.Available(p, s.minReady, now); {
		case ok:
			st.AvailableReplicas++
		case w > 0 && (wait == 0 || w < wait):
			wait = w
		}
	}
	if s.countsTerminating {
		st.TerminatingReplicas = &terminating
	}
	st.setFailure(failure, reason, now)
	return st, wait
}

// setFailure keeps the ReplicaFailure condition just while there is a failure.
func (st *status) setFailure(failure error, reason string, now time.Time) {
	const kind = "ReplicaFailure"
	for i, c := range st.Conditions {
		if string(c.Type) != kind {
			continue
		}
		if failure == nil {
			st.Conditions = append(st.Conditions[:i:i], st.Conditions[i+1:]...)
		}
		return // as upstream: the first failure stays until it is over
	}
	if failure != nil {
		st.Conditions = append(st.Conditions, condition{
			Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: failure.Error(),
			LastTransitionTime: metav1.NewTime(now),
		})
	}
}

// relatedOnNode counts pods by node, over the sets that share s's controller.
func relatedOnNode(all []*corev1.Pod) func(*corev1.Pod) int {
	n := map[string]int{}
	for _, p := range all {
		if pods.Active(p) {
			n[p.Spec.NodeName]++
		}
	}
	return func(p *corev1.Pod) int { return n[p.Spec.NodeName] }
}
