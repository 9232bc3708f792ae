package volume

import (
	corev1 "k8s.io/api/core/v1"
)

// LocalDirs returns the directories of those of the pod's volumes that count as its own use of the node's
// disk, by name. What lies in memory or belongs to others does not.
func (m *Manager) LocalDirs(pod *corev1.Pod) map[string]string {
	out := map[string]string{}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.ConfigMap != nil || v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault {
			out[v.Name] = m.dir(pod.UID, v)
		}
	}
	return out
}
