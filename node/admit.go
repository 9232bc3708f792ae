package node

import (
	"fmt"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"clipper/api"
	"clipper/node/podworker"
)

// listenPort returns the port a listener listens on.
func listenPort(l net.Listener) int32 {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return int32(a.Port)
	}
	return 0
}

// admitLocked decides whether the node takes a pod. What was bound here may no longer fit: two schedulers,
// a label that changed, a pod bound by hand. a.mu is held, so that two pods do not take the same place.
func (a *Agent) admitLocked(pod *corev1.Pod) *podworker.Verdict {
	if pod.Status.StartTime != nil || pod.DeletionTimestamp != nil ||
		pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil // taken before
	}
	var others []*corev1.Pod
	for _, h := range a.workers {
		if _, st := h.Status(); !h.done && st.Phase != corev1.PodSucceeded && st.Phase != corev1.PodFailed {
			others = append(others, h.pod)
		}
	}
	facts := a.reporter.Facts()
	node, ok := api.Nodes.View(a.opts.Client).Get("", a.opts.NodeName)
	if !ok {
		node = facts.Object(time.Time{})
	}
	reason, message := unfit(pod, others, node, facts.Allocatable())
	if reason == "" {
		return nil
	}
	return &podworker.Verdict{Phase: corev1.PodFailed, Reason: reason, Message: "Pod was rejected: " + message}
}

// resizable says why a pod that runs here cannot have what it now asks for: never on this node, or not
// before others make room. The words are the kubelet's.
func (a *Agent) resizable(pod *corev1.Pod) (reason, message string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	facts := a.reporter.Facts()
	allocatable := facts.Allocatable()
	req := resource.PodRequests(pod, resource.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if want, have := amount(req, name), amount(allocatable, name); want > have {
			return corev1.PodReasonInfeasible, fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", name, want, have)
		}
	}
	if message := a.scarce.Resizable(pod); message != "" {
		return corev1.PodReasonInfeasible, message
	}
	var others []*corev1.Pod
	for uid, h := range a.workers {
		if _, st := h.Status(); uid != pod.UID && !h.done && st.Phase != corev1.PodSucceeded && st.Phase != corev1.PodFailed {
			others = append(others, h.pod)
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if message := short(name, req, others, allocatable); message != "" {
			return corev1.PodReasonDeferred, message
		}
	}
	return "", ""
}

// reject tells why a pod was not taken.
func (a *Agent) reject(pod *corev1.Pod, v *podworker.Verdict) {
	a.recorder.Event(pod, corev1.EventTypeWarning, v.Reason, "%s", v.Message[len("Pod was rejected: "):])
}

// unfit returns why a pod does not fit beside others, "" if it does. Wording and order are the kubelet's.
func unfit(pod *corev1.Pod, others []*corev1.Pod, node *corev1.Node, allocatable corev1.ResourceList) (reason, message string) {
	if n, most := int64(len(others)), allocatable.Pods().Value(); n+1 > most {
		return "OutOfpods", insufficient(corev1.ResourcePods, 1, n, most)
	}
	req := resource.PodRequests(pod, resource.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if message := short(name, req, others, allocatable); message != "" {
			return "OutOf" + string(name), message
		}
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err == nil && !ok && len(pod.Spec.NodeSelector)+affinityTerms(pod) > 0 {
		return "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	}
	if message := forbiddenSysctl(pod); message != "" {
		return "SysctlForbidden", message
	}
	if portsTaken(pod, others) {
		return "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
	}
	return "", ""
}

// short returns what is missing of a resource beside others, "" if nothing is.
func short(name corev1.ResourceName, req corev1.ResourceList, others []*corev1.Pod, allocatable corev1.ResourceList) string {
	want, have := amount(req, name), amount(allocatable, name)
	if want == 0 {
		return ""
	}
	var used int64
	for _, o := range others {
		used += amount(resource.PodRequests(o, resource.PodResourcesOptions{}), name)
	}
	if used+want > have {
		return insufficient(name, want, used, have)
	}
	return ""
}

func insufficient(name corev1.ResourceName, want, used, have int64) string {
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, want, used, have)
}

func amount(l corev1.ResourceList, name corev1.ResourceName) int64 {
	q := l[name]
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

func affinityTerms(pod *corev1.Pod) int {
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return 0
	}
	return 1
}

type hostPort struct {
	proto corev1.Protocol
	port  int32
	ip    string
}

func hostPortsOf(pod *corev1.Pod) []hostPort {
	var out []hostPort
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostPort != 0 {
				ip := p.HostIP
				if ip == "0.0.0.0" || ip == "::" {
					ip = ""
				}
				out = append(out, hostPort{p.Protocol, p.HostPort, ip})
			}
		}
	}
	return out
}

func portsTaken(pod *corev1.Pod, others []*corev1.Pod) bool {
	mine := hostPortsOf(pod)
	if len(mine) == 0 {
		return false
	}
	for _, o := range others {
		for _, p := range hostPortsOf(o) {
			for _, m := range mine {
				if m.proto == p.proto && m.port == p.port && (m.ip == p.ip || m.ip == "" || p.ip == "") {
					return true
				}
			}
		}
	}
	return false
}
