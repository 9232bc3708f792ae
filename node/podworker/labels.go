package podworker

import (
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubelet/pkg/types"
)

// Annotations that a kubelet gives containers. Tools that look at the runtime read them.
const (
	restartCountAnnotation  = "io.kubernetes.container.restartCount"
	messagePathAnnotation   = "io.kubernetes.container.terminationMessagePath"
	messagePolicyAnnotation = "io.kubernetes.container.terminationMessagePolicy"
)

// sandboxLabels are the pod's own and those by which tools know the pod of a sandbox.
func sandboxLabels(pod *corev1.Pod) map[string]string {
	out := make(map[string]string, len(pod.Labels)+3)
	maps.Copy(out, pod.Labels)
	maps.Copy(out, podLabels(pod))
	return out
}

func podLabels(pod *corev1.Pod) map[string]string {
	return map[string]string{
		types.KubernetesPodNameLabel:      pod.Name,
		types.KubernetesPodNamespaceLabel: pod.Namespace,
		types.KubernetesPodUIDLabel:       string(pod.UID),
	}
}

func containerLabels(pod *corev1.Pod, c *corev1.Container) map[string]string {
	out := podLabels(pod)
	out[types.KubernetesContainerNameLabel] = c.Name
	return out
}

func containerAnnotations(c *corev1.Container, attempt int) map[string]string {
	return map[string]string{
		restartCountAnnotation:  strconv.Itoa(attempt),
		messagePathAnnotation:   c.TerminationMessagePath,
		messagePolicyAnnotation: string(c.TerminationMessagePolicy),
	}
}
