package node

import (
	"fmt"
	"maps"
	goruntime "runtime"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	schedulingcorev1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"clipper/node/manifests"
	"clipper/node/preempt"
)

// A refusal is a reason why a node does not take a pod. The words and their order are the kubelet's.
type refusal struct {
	reason, message string
	// lacks is what others would have to give up for the pod; zero if that would not help.
	lacks preempt.Need
}

// impossible returns why a pod can never run on a node, nil if it could.
func impossible(pod *corev1.Pod, node *corev1.Node) *refusal {
	if want, ok := pod.Labels[corev1.LabelOSStable]; ok && want != goruntime.GOOS {
		return &refusal{reason: "PodOSSelectorNodeLabelDoesNotMatch", message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"}
	}
	if pod.Spec.OS != nil && string(pod.Spec.OS.Name) != goruntime.GOOS {
		return &refusal{reason: "PodOSNotSupported", message: "Failed to admit pod as the OS field doesn't match node OS"}
	}
	sc := pod.Spec.SecurityContext
	if sc != nil && sc.SupplementalGroupsPolicy != nil && *sc.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict {
		if f := node.Status.Features; f == nil || f.SupplementalGroupsPolicy == nil || !*f.SupplementalGroupsPolicy {
			return &refusal{reason: "SupplementalGroupsPolicyNotSupported", message: "SupplementalGroupsPolicy=Strict is not supported in this node"}
		}
	}
	return nil
}

// unfit returns all reasons why a pod does not fit beside others now.
func unfit(pod *corev1.Pod, others []*corev1.Pod, node *corev1.Node, allocatable corev1.ResourceList) []refusal {
	out := lacking(pod, others, allocatable)
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err == nil && !ok {
		out = append(out, predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"))
	}
	if portsTaken(pod, others) {
		out = append(out, predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports"))
	}
	if !manifests.IsStatic(pod) && driven(pod, node) {
		out = append(out, predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate"))
	}
	return out
}

func predicate(name, description string) refusal {
	return refusal{reason: name, message: fmt.Sprintf("Predicate %s failed: %s", name, description)}
}

// driven reports whether a taint of the node drives the pod away.
func driven(pod *corev1.Pod, node *corev1.Node) bool {
	_, untolerated := schedulingcorev1.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, pod.Spec.Tolerations,
		func(t *corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }, false)
	return untolerated
}

// lacking returns what there is too little of: places for pods, then resources. Extended ones that the node does
// not count are somebody else's to count.
func lacking(pod *corev1.Pod, others []*corev1.Pod, allocatable corev1.ResourceList) []refusal {
	var out []refusal
	if n, most := int64(len(others)), allocatable.Pods().Value(); n+1 > most {
		out = append(out, insufficient(corev1.ResourcePods, 1, n, most))
	}
	req := resource.PodRequests(pod, resource.PodResourcesOptions{})
	names := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	for _, name := range slices.Sorted(maps.Keys(req)) {
		if _, counted := allocatable[name]; !slices.Contains(names, name) && (counted || !strings.Contains(string(name), "/")) {
			names = append(names, name)
		}
	}
	return append(out, short(names, req, others, allocatable)...)
}

// short returns what is missing of the resources beside others. Others are counted once: a node may have hundreds.
func short(names []corev1.ResourceName, req corev1.ResourceList, others []*corev1.Pod, allocatable corev1.ResourceList) []refusal {
	names = slices.DeleteFunc(names, func(name corev1.ResourceName) bool { return amount(req, name) == 0 })
	if len(names) == 0 {
		return nil
	}
	used := map[corev1.ResourceName]int64{}
	for _, o := range others {
		theirs := resource.PodRequests(o, resource.PodResourcesOptions{})
		for _, name := range names {
			used[name] += amount(theirs, name)
		}
	}
	var out []refusal
	for _, name := range names {
		if want, have := amount(req, name), amount(allocatable, name); used[name]+want > have {
			out = append(out, insufficient(name, want, used[name], have))
		}
	}
	return out
}

func insufficient(name corev1.ResourceName, want, used, have int64) refusal {
	return refusal{reason: "OutOf" + string(name), lacks: preempt.Need{Resource: name, Amount: used + want - have},
		message: fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, want, used, have)}
}

func amount(l corev1.ResourceList, name corev1.ResourceName) int64 {
	q := l[name]
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
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
