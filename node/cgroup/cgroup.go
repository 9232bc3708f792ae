// Package cgroup works out where a pod's control group is and what it may use, as a v1.36 kubelet does: a
// tree per quality of service under one root, CPU shares from requests, quotas and memory limits from
// limits, and OOM scores that sacrifice best-effort pods first.
package cgroup

import (
	"path"

	"clipper/catalogue/core/pod"

	corev1 "k8s.io/api/core/v1"
)

// The OOM scores of the classes at either end.
const (
	guaranteedOOM = -997
	bestEffortOOM = 1000
)

// Parent returns the control group of a pod, relative to the roots of the hierarchies.
func Parent(root string, pod *corev1.Pod) string {
	leaf := "pod" + string(pod.UID)
	switch QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return path.Join(root, leaf)
	case corev1.PodQOSBurstable:
		return path.Join(root, "burstable", leaf)
	}
	return path.Join(root, "besteffort", leaf)
}

// QOS returns the pod's class. The API server computes it at creation; a static pod has none yet.
func QOS(p *corev1.Pod) corev1.PodQOSClass {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass
	}
	return pod.QOS(p)
}

// OOMScore returns the oom_score_adj of a container: the more of the node's memory a burstable container
// has asked for, the less likely it is to be killed.
func OOMScore(pod *corev1.Pod, c *corev1.Container, memory int64) int {
	if pod.Spec.PriorityClassName == "system-node-critical" {
		return guaranteedOOM
	}
	switch QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedOOM
	case corev1.PodQOSBestEffort:
		return bestEffortOOM
	}
	score := burstableOOM(c, memory)
	if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
		// A sidecar must not die before the containers it serves.
		for i := range pod.Spec.Containers {
			score = min(score, burstableOOM(&pod.Spec.Containers[i], memory))
		}
	}
	return score
}

func burstableOOM(c *corev1.Container, memory int64) int {
	score := int64(1000)
	if memory > 0 {
		score = 1000 - 1000*c.Resources.Requests.Memory().Value()/memory
	}
	return int(min(max(score, 1000+guaranteedOOM), bestEffortOOM-1))
}
