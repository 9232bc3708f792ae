package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Upstream's figures.
const (
	grace        = 50 * time.Second // without a sign of life, after which a node's state is unknown
	startupGrace = 60 * time.Second // for a node that has never reported
	evictionRate = 10 * time.Second // between two nodes that begin to lose their pods
	smallCluster = 50               // nodes; with most of them lost, a small cluster evicts nothing
)

// heartbeats are the conditions that the kubelet reports.
var heartbeats = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

func condition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

func ready(n *corev1.Node) corev1.ConditionStatus {
	if c := condition(n, corev1.NodeReady); c != nil {
		return c.Status
	}
	return corev1.ConditionUnknown
}

// deadline is when n is given up, if it shows no sign of life after seen.
func deadline(n *corev1.Node, seen time.Time) time.Time {
	if condition(n, corev1.NodeReady) == nil {
		return n.CreationTimestamp.Add(startupGrace)
	}
	return seen.Add(grace)
}

// unknown returns the conditions of a node that has been given up, and whether any of them changes.
func unknown(n *corev1.Node, now time.Time) ([]corev1.NodeCondition, bool) {
	out := slices.Clone(n.Status.Conditions)
	changed := false
	for _, t := range heartbeats {
		i := slices.IndexFunc(out, func(c corev1.NodeCondition) bool { return c.Type == t })
		switch {
		case i < 0:
			out = append(out, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
			changed = true
		case out[i].Status != corev1.ConditionUnknown:
			out[i].Status, out[i].Reason, out[i].Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			out[i].LastTransitionTime = metav1.NewTime(now)
			changed = true
		}
	}
	return out, changed
}

// noSchedule lists the taints that n's conditions ask for.
func noSchedule(n *corev1.Node) []corev1.Taint {
	var out []corev1.Taint
	add := func(key string) {
		out = append(out, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
	}
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionFalse:
			add(corev1.TaintNodeNotReady)
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown:
			add(corev1.TaintNodeUnreachable)
		case c.Type == corev1.NodeMemoryPressure && c.Status == corev1.ConditionTrue:
			add(corev1.TaintNodeMemoryPressure)
		case c.Type == corev1.NodeDiskPressure && c.Status == corev1.ConditionTrue:
			add(corev1.TaintNodeDiskPressure)
		case c.Type == corev1.NodePIDPressure && c.Status == corev1.ConditionTrue:
			add(corev1.TaintNodePIDPressure)
		case c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue:
			add(corev1.TaintNodeNetworkUnavailable)
		}
	}
	if n.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable)
	}
	return out
}

// noExecute returns the taint that drives pods from a node that is not ready; nil if it is.
func noExecute(n *corev1.Node) *corev1.Taint {
	c := condition(n, corev1.NodeReady)
	switch {
	case c == nil:
		return nil
	case c.Status == corev1.ConditionFalse:
		return &corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}
	case c.Status == corev1.ConditionUnknown:
		return &corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}
	}
	return nil
}

// ours are the taints that this controller sets and removes.
var ours = []corev1.Taint{
	{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}, {Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule}, {Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule}, {Key: corev1.TaintNodeDiskPressure, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodePIDPressure, Effect: corev1.TaintEffectNoSchedule}, {Key: corev1.TaintNodeNetworkUnavailable, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule},
}

func contains(taints []corev1.Taint, t corev1.Taint) bool {
	return slices.ContainsFunc(taints, func(o corev1.Taint) bool { return o.MatchTaint(&t) })
}

// taints returns n's taints as they should be, and whether that is a change. Without evict a node that is
// not ready keeps its pods: it gets no NoExecute taint, and loses the one it has.
func taints(n *corev1.Node, evict bool, now time.Time) ([]corev1.Taint, bool) {
	want := noSchedule(n)
	if t := noExecute(n); t != nil && evict {
		at := metav1.NewTime(now)
		t.TimeAdded = &at
		want = append(want, *t)
	}
	var out []corev1.Taint
	changed := false
	for _, have := range n.Spec.Taints {
		if contains(ours, have) && !contains(want, have) {
			changed = true
			continue
		}
		out = append(out, have)
	}
	for _, t := range want {
		if !contains(out, t) {
			out = append(out, t)
			changed = true
		}
	}
	return out, changed
}

// mayEvict says whether lost nodes are worth evicting from. If all are lost, or most of a small cluster, it
// is more likely the server that is cut off.
func mayEvict(lost, all int) bool {
	switch {
	case lost == all:
		return false
	case lost > 2 && lost*100 >= all*55 && all <= smallCluster:
		return false
	}
	return true
}
