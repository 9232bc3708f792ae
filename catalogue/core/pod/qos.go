package pod

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
)

// QOS is the pod's class: Guaranteed where every container's cpu and memory limits equal its requests,
// BestEffort where none asks for anything, Burstable else. Requests of the pod itself, where it has any,
// stand for those of its containers.
func QOS(p *corev1.Pod) corev1.PodQOSClass {
	var asks []corev1.ResourceRequirements
	if p.Spec.Resources != nil {
		asks = append(asks, *p.Spec.Resources)
	} else {
		for c := range containers.Of(&p.Spec) {
			asks = append(asks, c.Resources)
		}
	}
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	guaranteed := true
	for _, r := range asks {
		add(requests, r.Requests)
		if add(limits, r.Limits) < 2 {
			guaranteed = false
		}
	}
	switch {
	case len(requests) == 0 && len(limits) == 0:
		return corev1.PodQOSBestEffort
	case guaranteed && sameAmounts(requests, limits):
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// add sums cpu and memory of list into sum and says how many of the two it found.
func add(sum, list corev1.ResourceList) int {
	found := 0
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		q, ok := list[name]
		if !ok || q.Sign() <= 0 {
			continue
		}
		found++
		total := sum[name].DeepCopy()
		total.Add(q)
		sum[name] = total
	}
	return found
}

func sameAmounts(requests, limits corev1.ResourceList) bool {
	for name, request := range requests {
		if limit, ok := limits[name]; !ok || limit.Cmp(request) != 0 {
			return false
		}
	}
	return len(requests) == len(limits)
}
