// Package service describes Service.
package service

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// Resource describes Service.
func Resource() *catalogue.Resource {
	return catalogue.Describe[corev1.Service, corev1.ServiceList](catalogue.Kind[*corev1.Service]{
		Resource:       api.Services.Resource,
		Warnings:       warnings,
		ValidateCreate: validateCreate,
		ValidateUpdate: validateUpdate,
		ValidateStatus: validateStatus,
		PrepareUpdate:  prepareUpdate,
		Columns:        columns,
		Row:            row,
		Default:        setDefaults,
		Canonicalize:   hideInternalPolicy,
		ShortNames:     []string{"svc"},
		Categories:     []string{"all"},
		Prefix:         "services/specs",
		CreateOnUpdate: true,
		ValidateName:   apivalidation.NameIsDNSLabel,

		Spec:   catalogue.PartOf(func(s *corev1.Service) *corev1.ServiceSpec { return &s.Spec }),
		Status: catalogue.PartOf(func(s *corev1.Service) *corev1.ServiceStatus { return &s.Status }),

		Fields: map[string]func(*corev1.Service) string{
			"spec.clusterIP": func(s *corev1.Service) string { return s.Spec.ClusterIP },
			"spec.type":      func(s *corev1.Service) string { return string(s.Spec.Type) },
		},
		Subresources: []catalogue.Subresource{
			{Name: "proxy", Kind: "ServiceProxyOptions", Verbs: []string{"create", "delete", "get", "patch", "update"}},
		},
	})
}

var internalPolicies = []corev1.ServiceInternalTrafficPolicy{corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal}

func setDefaults(s *corev1.Service) {
	spec := &s.Spec
	rule.SetIfEmpty(&spec.Type, corev1.ServiceTypeClusterIP)
	defaultAffinity(spec)
	for i := range spec.Ports {
		p := &spec.Ports[i]
		rule.SetIfEmpty(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if ExternallyAccessible(spec) {
		rule.SetIfEmpty(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if spec.Type != corev1.ServiceTypeExternalName {
		rule.SetIfNil(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		rule.SetIfNil(&spec.AllocateLoadBalancerNodePorts, true)
		for i := range s.Status.LoadBalancer.Ingress {
			if ing := &s.Status.LoadBalancer.Ingress[i]; ing.IP != "" {
				rule.SetIfNil(&ing.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

// hideInternalPolicy drops what was once a default of external names by mistake: it is still taken, and whoever writes it
// owns it, but it is not shown.
func hideInternalPolicy(s *corev1.Service) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		s.Spec.InternalTrafficPolicy = nil
	}
}

func defaultAffinity(spec *corev1.ServiceSpec) {
	rule.SetIfEmpty(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			timeout := corev1.DefaultClientIPServiceAffinitySeconds
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout}}
		}
	}
}

// ExternallyAccessible says whether traffic from outside the cluster can reach a service.
func ExternallyAccessible(spec *corev1.ServiceSpec) bool {
	return spec.Type == corev1.ServiceTypeLoadBalancer || spec.Type == corev1.ServiceTypeNodePort ||
		spec.Type == corev1.ServiceTypeClusterIP && len(spec.ExternalIPs) > 0
}
