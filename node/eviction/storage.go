package eviction

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// The signals under which evictions for a pod's own limits are counted.
const (
	signalEmptyDir  = "emptydirfs.limit"
	signalPod       = "ephemeralpodfs.limit"
	signalContainer = "ephemeralcontainerfs.limit"
)

// limitsStorage reports whether a pod has any limit on what it may write to the node's disk: the others
// need not be measured.
func limitsStorage(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if e := pod.Spec.Volumes[i].EmptyDir; e != nil && e.SizeLimit != nil && e.SizeLimit.Sign() > 0 {
			return true
		}
	}
	_, limited := resource.PodLimits(pod, resource.PodResourcesOptions{})[corev1.ResourceEphemeralStorage]
	return limited
}

// overStorage says which of its own limits on storage a pod exceeds, "" if none. The order and the words are
// upstream's.
func overStorage(c Candidate, dedicatedImageFS bool) (signal, message string) {
	if message := overEmptyDir(c); message != "" {
		return signalEmptyDir, message
	}
	limits := resource.PodLimits(c.Pod, resource.PodResourcesOptions{})
	if limit, ok := limits[corev1.ResourceEphemeralStorage]; ok {
		if total := c.Usage.disk(Files{Rootfs: true, Logs: true, Volumes: true}).Bytes; bytes(total).Cmp(limit) > 0 {
			return signalPod, fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", &limit)
		}
	}
	if message := overContainer(c, dedicatedImageFS); message != "" {
		return signalContainer, message
	}
	return "", ""
}

func overEmptyDir(c Candidate) string {
	for i := range c.Pod.Spec.Volumes {
		v := &c.Pod.Spec.Volumes[i]
		used, known := c.Usage.Volumes[v.Name]
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || !known {
			continue
		}
		if limit := v.EmptyDir.SizeLimit; limit.Sign() > 0 && bytes(used.Bytes).Cmp(*limit) > 0 {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, limit)
		}
	}
	return ""
}

func overContainer(c Candidate, dedicatedImageFS bool) string {
	for _, u := range c.Usage.Containers {
		used := u.Logs.Bytes
		if !dedicatedImageFS {
			used += u.Rootfs.Bytes
		}
		for i := range c.Pod.Spec.Containers {
			spec := &c.Pod.Spec.Containers[i]
			limit := spec.Resources.Limits[corev1.ResourceEphemeralStorage]
			if spec.Name == u.Name && !limit.IsZero() && bytes(used).Cmp(limit) > 0 {
				return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", u.Name, &limit)
			}
		}
	}
	return ""
}
