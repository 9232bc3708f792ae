package shutdown

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/kubeletconfig"
	"clipper/node/priority"
)

// A Period is the time that pods of at least a priority have to stop, once those of lower ones have.
type Period struct {
	Priority int32
	Grace    time.Duration
}

// Periods returns what the configuration gives pods, lowest priority first; none if it gives them no time.
func Periods(c *kubeletconfig.Configuration) []Period {
	var out []Period
	for _, p := range c.ShutdownGracePeriodByPodPriority {
		out = append(out, Period{p.Priority, time.Duration(p.ShutdownGracePeriodSeconds) * time.Second})
	}
	whole, critical := c.ShutdownGracePeriod.Duration, c.ShutdownGracePeriodCriticalPods.Duration
	if len(out) == 0 && whole > 0 {
		out = []Period{{0, (whole - critical).Truncate(time.Second)}, {priority.SystemCritical, critical.Truncate(time.Second)}}
	}
	slices.SortFunc(out, func(a, b Period) int { return cmp.Compare(a.Priority, b.Priority) })
	return out
}

// total returns how long all pods together have.
func total(periods []Period) time.Duration {
	var sum time.Duration
	for _, p := range periods {
		sum += p.Grace
	}
	return sum
}

// A group are the pods that stop together.
type group struct {
	Period
	pods []*corev1.Pod
}

// groups sorts pods into the periods, without those that nobody is in. A pod belongs to the highest priority that
// is not above its own, or else to the lowest.
func groups(periods []Period, pods []*corev1.Pod) []group {
	out := make([]group, len(periods))
	for i, p := range periods {
		out[i].Period = p
	}
	for _, pod := range pods {
		var own int32
		if pod.Spec.Priority != nil {
			own = *pod.Spec.Priority
		}
		i := 0
		for i+1 < len(out) && out[i+1].Priority <= own {
			i++
		}
		out[i].pods = append(out[i].pods, pod)
	}
	return slices.DeleteFunc(out, func(g group) bool { return len(g.pods) == 0 })
}

// grace returns how long one pod of the group has: no longer than it asks for itself.
func (g group) grace(pod *corev1.Pod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return min(g.Grace, time.Duration(*s)*time.Second)
	}
	return g.Grace
}
