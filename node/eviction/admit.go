package eviction

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingcorev1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"clipper/node/cgroup"
	"clipper/node/priority"
)

// Conditions returns what the node is short of.
func (m *Manager) Conditions() []corev1.NodeConditionType {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conditions
}

func (m *Manager) setConditions(now []corev1.NodeConditionType) {
	m.mu.Lock()
	changed := !slices.Equal(m.conditions, now)
	m.conditions = now
	m.mu.Unlock()
	if changed {
		m.cfg.Changed()
	}
}

// Refuse says why the node does not take a pod while it is short of something; "" if it does.
func (m *Manager) Refuse(pod *corev1.Pod) (reason, message string) {
	return refuse(pod, m.Conditions())
}

// refuse lets in who is critical and, while only memory is short, who has asked for some or says that it
// bears the shortage.
func refuse(pod *corev1.Pod, conditions []corev1.NodeConditionType) (reason, message string) {
	if len(conditions) == 0 || priority.Critical(pod) {
		return "", ""
	}
	if slices.Equal(conditions, []corev1.NodeConditionType{corev1.NodeMemoryPressure}) {
		taint := corev1.Taint{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule}
		if cgroup.QOS(pod) != corev1.PodQOSBestEffort || schedulingcorev1.TolerationsTolerateTaint(klog.Background(), pod.Spec.Tolerations, &taint, false) {
			return "", ""
		}
	}
	return Reason, fmt.Sprintf("The node had condition: %v. ", conditions)
}
