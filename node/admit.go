package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"clipper/api"
	"clipper/node/podworker/lifecycle"
	"clipper/node/preempt"
	"clipper/node/priority"
	"clipper/node/shutdown"
)

// listenPort returns the port a listener listens on.
func listenPort(l net.Listener) int32 {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return int32(a.Port)
	}
	return 0
}

// An admission is what the node decides about a new pod.
type admission struct {
	verdict *lifecycle.Verdict // why it is not taken
	after   []*handle          // who makes room for it: it begins once they have ended
}

// admitLocked decides whether the node takes a pod. What was bound here may no longer fit: two schedulers,
// a label that changed, a pod bound by hand. a.mu is held, so that two pods do not take the same place.
func (a *Agent) admitLocked(pod *corev1.Pod) admission {
	if pod.Status.StartTime != nil || pod.DeletionTimestamp != nil ||
		pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return admission{} // taken before
	}
	if reason, message := a.eviction.Refuse(pod); reason != "" {
		return rejected(reason, message)
	}
	if message := forbiddenSysctl(pod, a.opts.Config.AllowedUnsafeSysctls); message != "" {
		return rejected("SysctlForbidden", message)
	}
	if message := unenforceable(pod, appArmorEnabled()); message != "" {
		return rejected("AppArmor", message)
	}
	facts := a.reporter.Facts()
	node, ok := api.Nodes.View(a.opts.Client).Get("", a.opts.NodeName)
	if !ok {
		node = facts.Object(time.Time{})
	}
	if r := impossible(pod, node); r != nil {
		return rejected(r.reason, r.message)
	}
	critical := priority.Critical(pod)
	others, leaving := a.othersLocked(pod, critical)
	refusals := unfit(pod, others, node, facts.Allocatable())
	switch {
	case critical:
		return a.makeRoomLocked(pod, others, leaving, refusals)
	case len(refusals) > 0:
		return rejected(refusals[0].reason, refusals[0].message)
	case a.shutdown.ShuttingDown():
		return rejected(shutdown.RefusalReason, shutdown.RefusalMessage)
	}
	return admission{after: leaving}
}

func rejected(reason, message string) admission {
	return admission{verdict: &lifecycle.Verdict{Phase: corev1.PodFailed, Reason: reason, Message: "Pod was rejected: " + message}}
}

// othersLocked returns the pods that a new one has to fit beside. Those that make room for a critical pod come as
// leaving instead; to a critical one itself, so do those that are evicted for other reasons.
func (a *Agent) othersLocked(pod *corev1.Pod, critical bool) (others []*corev1.Pod, leaving []*handle) {
	for uid, h := range a.workers {
		switch {
		case uid == pod.UID || h.done || h.final():
		case h.preempted || critical && h.evicted:
			leaving = append(leaving, h)
		default:
			others = append(others, h.pod)
		}
	}
	return others, leaving
}

// makeRoomLocked takes a critical pod: if all that is missing is what others have asked for, they go.
func (a *Agent) makeRoomLocked(pod *corev1.Pod, others []*corev1.Pod, leaving []*handle, refusals []refusal) admission {
	var needs []preempt.Need
	for _, r := range refusals {
		if r.lacks == (preempt.Need{}) {
			return rejected(r.reason, r.message)
		}
		needs = append(needs, r.lacks)
	}
	if a.shutdown.ShuttingDown() {
		return rejected(shutdown.RefusalReason, shutdown.RefusalMessage)
	}
	victims, err := preempt.Victims(pod, others, needs)
	if err != nil {
		return rejected("UnexpectedAdmissionError", fmt.Sprintf("Unexpected error while attempting to recover from admission failure: %v", err))
	}
	for _, v := range victims {
		h := a.workers[v.UID]
		leaving = append(leaving, h)
		a.preemptLocked(h, needs[0].Resource)
	}
	return admission{after: leaving}
}

// preemptLocked ends a pod for the sake of a critical one.
func (a *Agent) preemptLocked(h *handle, lacking corev1.ResourceName) {
	const reason, message = "Preempting", "Preempted in order to admit critical pod"
	a.counts.preemptions.WithLabelValues(string(lacking)).Inc()
	a.recorder.Event(h.pod, corev1.EventTypeWarning, reason, message)
	h.evicted, h.preempted = true, true
	h.Evict(lifecycle.Verdict{Phase: corev1.PodFailed, Reason: reason, Message: message, Condition: &corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet,
		Message: "Pod was preempted by Kubelet to accommodate a critical pod."}})
}

// leaveTimeout and leaveEvery bound the wait for who makes room, beyond the time each has to stop.
const (
	leaveTimeout = 10 * time.Second
	leaveEvery   = 100 * time.Millisecond
)

// await waits until the pods have given back what they had. It reports whether ctx goes on.
func await(ctx context.Context, leaving []*handle) bool {
	timeout := leaveTimeout
	for _, h := range leaving {
		if s := h.pod.Spec.TerminationGracePeriodSeconds; s != nil {
			timeout = max(timeout, time.Duration(*s)*3/2*time.Second)
		}
	}
	over := time.After(timeout)
	for slices.ContainsFunc(leaving, func(h *handle) bool { return !h.Ended() }) {
		select {
		case <-ctx.Done():
			return false
		case <-over:
			slog.Warn("Pods take long to make room for a critical one", "pods", len(leaving))
			return true
		case <-time.After(leaveEvery):
		}
	}
	return true
}

// resizable says why a pod that runs here cannot have what it now asks for: never on this node, or not
// before others make room. The words are the kubelet's.
func (a *Agent) resizable(pod *corev1.Pod) (reason, message string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	facts := a.reporter.Facts()
	allocatable := facts.Allocatable()
	req := resource.PodRequests(pod, resource.PodResourcesOptions{})
	names := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
	for _, name := range names {
		if want, have := amount(req, name), amount(allocatable, name); want > have {
			return corev1.PodReasonInfeasible, fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", name, want, have)
		}
	}
	if message := a.scarce.Resizable(pod); message != "" {
		return corev1.PodReasonInfeasible, message
	}
	others, _ := a.othersLocked(pod, false)
	if missing := short(names, req, others, allocatable); len(missing) > 0 {
		return corev1.PodReasonDeferred, missing[0].message
	}
	return "", ""
}

// reject tells why a pod was not taken.
func (a *Agent) reject(pod *corev1.Pod, v *lifecycle.Verdict) {
	a.counts.rejected(v.Reason)
	a.recorder.Event(pod, corev1.EventTypeWarning, v.Reason, "%s", v.Message[len("Pod was rejected: "):])
}
