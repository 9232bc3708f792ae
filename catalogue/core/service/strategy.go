package service

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// prepareUpdate clears what belonged to the old type of a service whose type changed, if the client just
// sent it back: it means the change of type, not the left-overs.
func prepareUpdate(s, old *corev1.Service) {
	n, o := &s.Spec, &old.Spec
	if hasClusterIP(o) && !hasClusterIP(n) {
		clearClusterIPs(n, o)
	}
	if HasNodePorts(o) && !HasNodePorts(n) && sameNodePorts(n, o) {
		for i := range n.Ports {
			n.Ports[i].NodePort = 0
		}
	}
	if hasHealthPort(o) && !hasHealthPort(n) && n.HealthCheckNodePort == o.HealthCheckNodePort {
		n.HealthCheckNodePort = 0
	}
	if o.Type == corev1.ServiceTypeLoadBalancer && n.Type != corev1.ServiceTypeLoadBalancer {
		if n.AllocateLoadBalancerNodePorts != nil && equal(n.AllocateLoadBalancerNodePorts, o.AllocateLoadBalancerNodePorts) {
			n.AllocateLoadBalancerNodePorts = nil
		}
		if equal(n.LoadBalancerClass, o.LoadBalancerClass) {
			n.LoadBalancerClass = nil
		}
	}
	if ExternallyAccessible(o) && !ExternallyAccessible(n) && n.ExternalTrafficPolicy == o.ExternalTrafficPolicy {
		n.ExternalTrafficPolicy = ""
	}
	if n.Type != corev1.ServiceTypeLoadBalancer {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

func clearClusterIPs(n, o *corev1.ServiceSpec) {
	if n.ClusterIP == o.ClusterIP && slices.Equal(n.ClusterIPs, o.ClusterIPs) {
		n.ClusterIP, n.ClusterIPs = "", nil
	}
	if slices.Equal(n.IPFamilies, o.IPFamilies) {
		n.IPFamilies = nil
	}
	if equal(n.IPFamilyPolicy, o.IPFamilyPolicy) {
		n.IPFamilyPolicy = nil
	}
}

func hasClusterIP(s *corev1.ServiceSpec) bool {
	return s.Type != corev1.ServiceTypeExternalName
}

// HasNodePorts says whether services of this type listen on every node.
func HasNodePorts(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer
}

func hasHealthPort(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// sameNodePorts says that every node port of n is one of o's.
func sameNodePorts(n, o *corev1.ServiceSpec) bool {
	was := map[int32]bool{0: true}
	for _, p := range o.Ports {
		was[p.NodePort] = true
	}
	for _, p := range n.Ports {
		if !was[p.NodePort] {
			return false
		}
	}
	return true
}

func equal[V comparable](a, b *V) bool {
	return a == b || a != nil && b != nil && *a == *b
}
