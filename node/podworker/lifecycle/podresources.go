package lifecycle

import (
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"

	"clipper/api/containers"
)

// leastShares is what the kernel gives a group that asks for no CPU, in thousandths of one: no request to speak of.
const leastShares = 2

// resources returns what the pod as a whole has, and what it has been granted.
func (r *reporter) resources() (has *corev1.ResourceRequirements, granted corev1.ResourceList) {
	allocated := r.with(func(rec *Record) *corev1.ResourceRequirements { return rec.Granted }, r.o.Granted)
	granted = resource.PodRequests(allocated, resource.PodResourcesOptions{})
	if r.pod.Status.Phase != corev1.PodRunning {
		return &corev1.ResourceRequirements{
			Claims: claims(allocated), Requests: granted, Limits: resource.PodLimits(allocated, resource.PodResourcesOptions{}),
		}, granted
	}
	applied := r.with(func(rec *Record) *corev1.ResourceRequirements {
		if rec.Applied != nil && rec.Running() {
			return rec.Applied
		}
		return rec.Granted
	}, r.o.Applied)
	has = &corev1.ResourceRequirements{}
	if own := applied.Spec.Resources; own != nil {
		has = own.DeepCopy()
	}
	requests := resource.PodRequests(applied, resource.PodResourcesOptions{})
	if cpu := requests[corev1.ResourceCPU]; cpu.MilliValue() > leastShares {
		set(&has.Requests, corev1.ResourceCPU, cpu)
	}
	if memory, ok := requests[corev1.ResourceMemory]; ok {
		set(&has.Requests, corev1.ResourceMemory, memory)
	}
	limits := resource.PodLimits(applied, resource.PodResourcesOptions{})
	for _, name := range resizable {
		if q, ok := limits[name]; ok && bounded(applied, name) {
			set(&has.Limits, name, q)
		}
	}
	return has, granted
}

func set(list *corev1.ResourceList, name corev1.ResourceName, q apiresource.Quantity) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = q
}

func claims(pod *corev1.Pod) []corev1.ResourceClaim {
	if pod.Spec.Resources == nil {
		return nil
	}
	return pod.Spec.Resources.Claims
}

// bounded reports whether the pod as a whole is limited: by itself, or because each of its containers is.
func bounded(pod *corev1.Pod, name corev1.ResourceName) bool {
	if pod.Spec.Resources != nil {
		if q := pod.Spec.Resources.Limits[name]; !q.IsZero() {
			return true
		}
	}
	for c := range containers.Of(&pod.Spec) {
		if q := c.Resources.Limits[name]; q.IsZero() {
			return false
		}
	}
	return true
}

// with returns the pod with other resources: pick chooses those of a container, where there are any.
func (r *reporter) with(pick func(*Record) *corev1.ResourceRequirements, whole *corev1.ResourceRequirements) *corev1.Pod {
	p := *r.pod
	if whole != nil {
		p.Spec.Resources = whole
	}
	replace := func(in []corev1.Container) []corev1.Container {
		out := append([]corev1.Container(nil), in...)
		for i := range out {
			if rec := r.o.Containers[out[i].Name]; rec != nil && pick(rec) != nil {
				out[i].Resources = *pick(rec)
			}
		}
		return out
	}
	p.Spec.InitContainers, p.Spec.Containers = replace(p.Spec.InitContainers), replace(p.Spec.Containers)
	return &p
}
