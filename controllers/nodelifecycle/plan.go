// Package nodelifecycle watches over nodes: a node that stops renewing its lease becomes Unknown, conditions
// become taints, and pods that do not tolerate a NoExecute taint (or no longer) are deleted. What is heard of a
// node is timed by this process's clock when it is heard, so that clocks may differ.
//
// Behaviour is that of a v1.36 server's node-lifecycle and taint-eviction controllers.
package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// gracePeriod is how long a node may be silent before it counts as lost. Upstream's figure since 1.32.
const gracePeriod = 50 * time.Second

// heartbeat lists the conditions that a lost node no longer vouches for.
var heartbeat = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// conditionTaints maps a condition's status to the NoSchedule taint that it puts on the node.
var conditionTaints = map[corev1.NodeConditionType]map[corev1.ConditionStatus]string{
	corev1.NodeReady:              {corev1.ConditionFalse: corev1.TaintNodeNotReady, corev1.ConditionUnknown: corev1.TaintNodeUnreachable},
	corev1.NodeMemoryPressure:     {corev1.ConditionTrue: corev1.TaintNodeMemoryPressure},
	corev1.NodeDiskPressure:       {corev1.ConditionTrue: corev1.TaintNodeDiskPressure},
	corev1.NodePIDPressure:        {corev1.ConditionTrue: corev1.TaintNodePIDPressure},
	corev1.NodeNetworkUnavailable: {corev1.ConditionTrue: corev1.TaintNodeNetworkUnavailable},
}

// ours reports whether this package puts t on nodes, and may take it off.
func ours(t corev1.Taint) bool {
	switch t.Key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable:
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	case corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure,
		corev1.TaintNodeNetworkUnavailable, corev1.TaintNodeUnschedulable:
		return t.Effect == corev1.TaintEffectNoSchedule
	}
	return false
}

// silent returns the conditions of a node that was last heard of too long ago. changed is false if they
// say so already.
func silent(node *corev1.Node, now time.Time) (conditions []corev1.NodeCondition, changed bool) {
	conditions = slices.Clone(node.Status.Conditions)
	for _, kind := range heartbeat {
		i := slices.IndexFunc(conditions, func(c corev1.NodeCondition) bool { return c.Type == kind })
		if i < 0 {
			conditions = append(conditions, corev1.NodeCondition{
				Type: kind, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
			changed = true
			continue
		}
		if c := &conditions[i]; c.Status != corev1.ConditionUnknown {
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = metav1.NewTime(now)
			changed = true
		}
	}
	return conditions, changed
}

// taints returns what the node's taints should be: those that are not ours as they are, and ours as the
// conditions and spec.unschedulable ask for. A taint that stays keeps the time it was added.
func taints(node *corev1.Node, now time.Time) (want []corev1.Taint, changed bool) {
	var wanted []corev1.Taint
	for _, c := range node.Status.Conditions {
		key := conditionTaints[c.Type][c.Status]
		if key == "" {
			continue
		}
		wanted = append(wanted, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
		if c.Type == corev1.NodeReady {
			wanted = append(wanted, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute})
		}
	}
	if node.Spec.Unschedulable {
		wanted = append(wanted, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	for _, t := range node.Spec.Taints {
		i := slices.IndexFunc(wanted, func(w corev1.Taint) bool { return w.MatchTaint(&t) })
		switch {
		case i >= 0:
			want = append(want, t)
			wanted = slices.Delete(wanted, i, i+1)
		case ours(t):
			changed = true
		default:
			want = append(want, t)
		}
	}
	for _, t := range wanted {
		at := metav1.NewTime(now)
		t.TimeAdded = &at
		want, changed = append(want, t), true
	}
	return want, changed
}

// evictAt returns when pod has to leave a node with these taints; ok is false if it may stay.
func evictAt(pod *corev1.Pod, nodeTaints []corev1.Taint) (at time.Time, ok bool) {
	since := pod.CreationTimestamp.Time
	wait := time.Duration(-1) // for ever
	for _, t := range nodeTaints {
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		if t.TimeAdded != nil && t.TimeAdded.After(since) {
			since = t.TimeAdded.Time
		}
		tolerated := false
		for _, toleration := range pod.Spec.Tolerations {
			if !toleration.ToleratesTaint(klog.Background(), &t, true) {
				continue
			}
			tolerated = true
			if s := toleration.TolerationSeconds; s != nil {
				if d := time.Duration(max(*s, 0)) * time.Second; wait < 0 || d < wait {
					wait = d
				}
			}
		}
		if !tolerated {
			return time.Time{}, true
		}
	}
	if wait < 0 {
		return time.Time{}, false
	}
	return since.Add(wait), true
}

// unready returns pod's conditions with Ready false, for a pod on a node that is not; ok is false if they
// say so already.
func unready(pod *corev1.Pod, now time.Time) (conditions []corev1.PodCondition, ok bool) {
	conditions = slices.Clone(pod.Status.Conditions)
	for i := range conditions {
		if c := &conditions[i]; c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			c.Status, c.LastTransitionTime, ok = corev1.ConditionFalse, metav1.NewTime(now), true
		}
	}
	return conditions, ok
}
