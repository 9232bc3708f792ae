package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"

	"clipper/api/containers"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// setDefaults fills in a pod. What comes before podspec.Default is for pods only, so that templates keep
// what their author wrote.
func setDefaults(p *corev1.Pod) {
	for c := range containers.Of(&p.Spec) {
		requestLimits(&c.Resources)
		if p.Spec.HostNetwork {
			hostPorts(c.Ports)
		}
	}
	if p.Spec.Resources != nil {
		defaultPodLimits(p)
		defaultPodRequests(p)
	}
	rule.SetIfNil(&p.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if g := p.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		p.Spec.TerminationGracePeriodSeconds = new(int64(1))
	}
	podspec.Default(&p.Spec)
	syncIPs(&p.Status)
	roundUpStatus(&p.Status)
}

// requestLimits asks for as much as the limit where nothing is asked for.
func requestLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

func hostPorts(ports []corev1.ContainerPort) {
	for i := range ports {
		rule.SetIfEmpty(&ports[i].HostPort, ports[i].ContainerPort)
	}
}

// defaultPodLimits sets the pod's huge page limits to the sum of its containers'.
func defaultPodLimits(p *corev1.Pod) {
	r := p.Spec.Resources
	if len(r.Limits) == 0 && len(r.Requests) == 0 {
		return
	}
	for name, sum := range resource.AggregateContainerLimits(p, resource.PodResourcesOptions{}) {
		if !isHugePages(name) || !resource.IsSupportedPodLevelResource(name) {
			continue
		}
		if _, asked := r.Requests[name]; !asked {
			setIfAbsent(&r.Limits, name, sum)
		}
	}
}

// defaultPodRequests sets the pod's requests to the sum of its containers' or else to its own limits.
func defaultPodRequests(p *corev1.Pod) {
	r := p.Spec.Resources
	if len(r.Limits) == 0 {
		return
	}
	for name, sum := range resource.AggregateContainerRequests(p, resource.PodResourcesOptions{}) {
		if resource.IsSupportedPodLevelResource(name) && !isHugePages(name) {
			setIfAbsent(&r.Requests, name, sum)
		}
	}
	for name, limit := range r.Limits {
		if resource.IsSupportedPodLevelResource(name) {
			setIfAbsent(&r.Requests, name, limit)
		}
	}
}

func setIfAbsent(list *corev1.ResourceList, name corev1.ResourceName, q apiresource.Quantity) {
	if _, ok := (*list)[name]; ok {
		return
	}
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = q.DeepCopy()
}

func isHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// syncIPs keeps the older single address equal to the first of the list; the single one wins where they
// differ, because an old node agent knows nothing of the list.
func syncIPs(s *corev1.PodStatus) {
	switch {
	case s.PodIP == "" && len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
}

func roundUpStatus(s *corev1.PodStatus) {
	for cs := range containers.Statuses(s) {
		podspec.RoundUp(cs.AllocatedResources)
		roundUp(cs.Resources)
	}
	podspec.RoundUp(s.AllocatedResources)
	roundUp(s.Resources)
}

func roundUp(r *corev1.ResourceRequirements) {
	if r != nil {
		podspec.RoundUp(r.Requests)
		podspec.RoundUp(r.Limits)
	}
}
