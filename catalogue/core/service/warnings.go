package service

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"clipper/catalogue/rule"
)

// warnings are what to say of a service, new or changed: fields that count for nothing, or soon will.
func warnings(s, _ *corev1.Service) []string {
	n, spec := &rule.Notes{}, field.NewPath("spec")
	if _, ok := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; ok {
		n.Say("annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode)
	}
	if s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone {
		for i, ip := range s.Spec.ClusterIPs {
			n.IP(spec.Child("clusterIPs").Index(i), ip)
		}
	}
	external := s.Spec.Type == corev1.ServiceTypeExternalName
	headless := s.Spec.Type == corev1.ServiceTypeClusterIP && s.Spec.ClusterIP == corev1.ClusterIPNone
	if headless {
		ignored(n, s)
	}
	for i, ip := range s.Spec.ExternalIPs {
		n.IP(spec.Child("externalIPs").Index(i), ip)
	}
	if len(s.Spec.ExternalIPs) > 0 && !headless && !external {
		n.Say("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	}
	if ip := s.Spec.LoadBalancerIP; ip != "" {
		n.IP(spec.Child("loadBalancerIP"), ip)
	}
	for i, cidr := range s.Spec.LoadBalancerSourceRanges {
		n.CIDR(spec.Child("loadBalancerSourceRanges").Index(i), cidr)
	}
	if external && len(s.Spec.ExternalIPs) > 0 {
		n.Say("spec.externalIPs is ignored when spec.type is %q", s.Spec.Type)
	}
	if !external && s.Spec.ExternalName != "" {
		n.Say("spec.externalName is ignored when spec.type is not %q", corev1.ServiceTypeExternalName)
	}
	if ptr.Deref(s.Spec.TrafficDistribution, "") == corev1.ServiceTrafficDistributionPreferClose {
		n.Say("spec.trafficDistribution: %q is deprecated; use %q",
			corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone)
	}
	return n.List
}

// ignored notes what means nothing without a cluster IP.
func ignored(n *rule.Notes, s *corev1.Service) {
	if s.Spec.LoadBalancerIP != "" {
		n.Say("spec.loadBalancerIP is ignored for headless services")
	}
	if len(s.Spec.ExternalIPs) > 0 {
		n.Say("spec.externalIPs is ignored for headless services")
	}
	if s.Spec.SessionAffinity != corev1.ServiceAffinityNone {
		n.Say("spec.SessionAffinity is ignored for headless services")
	}
}
