package service

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

var (
	specPath        = field.NewPath("spec")
	annotationsPath = field.NewPath("metadata", "annotations")
)

func validateCreate(s *corev1.Service) field.ErrorList {
	f := &rule.Faults{}
	validate(f, s, nil)
	return f.List
}

func validateUpdate(s, old *corev1.Service) field.ErrorList {
	f := &rule.Faults{}
	clusterIPsUpdate(f, &s.Spec, &old.Spec)
	familiesUpdate(f, &s.Spec, &old.Spec)
	if isLoadBalancer(&s.Spec) && isLoadBalancer(&old.Spec) && !equal(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		f.Invalid(specPath.Child("loadBalancerClass"), s.Spec.LoadBalancerClass, "may not change once set")
	}
	loadBalancerClass(f, &s.Spec) // validate does so again, as upstream's does
	if hasHealthPort(&old.Spec) && hasHealthPort(&s.Spec) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		f.Forbidden(specPath.Child("healthCheckNodePort"), rule.Immutable)
	}
	validate(f, s, old)
	return f.List
}

func isLoadBalancer(s *corev1.ServiceSpec) bool { return s.Type == corev1.ServiceTypeLoadBalancer }

func isHeadless(s *corev1.ServiceSpec) bool {
	return len(s.ClusterIPs) == 1 && s.ClusterIPs[0] == corev1.ClusterIPNone
}

// validate checks what must hold at any time; old is nil on create.
func validate(f *rule.Faults, s, old *corev1.Service) {
	spec := &s.Spec
	hints, hinted := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if mode, ok := s.Annotations[corev1.AnnotationTopologyMode]; ok && hinted && mode != hints {
		f.Invalid(annotationsPath.Key(corev1.AnnotationTopologyMode), mode, "must match annotations["+corev1.DeprecatedAnnotationTopologyAwareHints+"] when both are specified")
	}
	if len(spec.Ports) == 0 && !isHeadless(spec) && spec.Type != corev1.ServiceTypeExternalName {
		f.Required(specPath.Child("ports"), "")
	}
	ofType(f, spec)
	servicePorts(f, spec)
	f.Labels(specPath.Child("selector"), spec.Selector)
	affinity(f, spec)
	var was corev1.ServiceSpec
	if old != nil {
		was = old.Spec
	}
	clusterIPs(f, spec, was.ClusterIPs)
	for i, ip := range spec.ExternalIPs {
		at, before := specPath.Child("externalIPs").Index(i), len(f.List)
		f.IP(at, ip, was.ExternalIPs...)
		if len(f.List) == before {
			EndpointIP(f, at, ip)
		}
	}
	if f.Need(specPath.Child("type"), string(spec.Type)) {
		rule.OneOf(f, specPath.Child("type"), spec.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName)
	}
	portConflicts(f, spec)
	sourceRanges(f, s, old)
	loadBalancer(f, spec)
	traffic(f, spec)
}

func ofType(f *rule.Faults, s *corev1.ServiceSpec) {
	switch s.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if isHeadless(s) {
			f.Invalid(specPath.Child("clusterIPs").Index(0), s.ClusterIPs[0], "may not be set to 'None' for "+string(s.Type)+" services")
		}
	case corev1.ServiceTypeExternalName:
		refuse := func(set bool, name string) {
			if set {
				f.Forbidden(specPath.Child(name), "may not be set for ExternalName services")
			}
		}
		refuse(len(s.ClusterIPs) > 0, "clusterIPs")
		refuse(len(s.IPFamilies) > 0, "ipFamilies")
		refuse(s.IPFamilyPolicy != nil, "ipFamilyPolicy")
		if name := strings.TrimSuffix(s.ExternalName, "."); f.Need(specPath.Child("externalName"), name) {
			f.DNSSubdomain(specPath.Child("externalName"), name)
		}
	}
}

func servicePorts(f *rule.Faults, s *corev1.ServiceSpec) {
	names := rule.Seen[string]{}
	for i, p := range s.Ports {
		at := specPath.Child("ports").Index(i)
		if p.Name != "" {
			f.DNSLabel(at.Child("name"), p.Name)
			if names.Again(p.Name) {
				f.Duplicate(at.Child("name"), p.Name)
			}
		} else if len(s.Ports) > 1 {
			f.Required(at.Child("name"), "")
		}
		f.Port(at.Child("port"), p.Port)
		if f.Need(at.Child("protocol"), string(p.Protocol)) {
			rule.OneOf(f, at.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		}
		podspec.PortOrName(f, p.TargetPort, at.Child("targetPort"))
		if p.AppProtocol != nil {
			f.QualifiedName(at.Child("appProtocol"), *p.AppProtocol)
		}
	}
}

func portConflicts(f *rule.Faults, s *corev1.ServiceSpec) {
	type key struct {
		protocol corev1.Protocol
		number   int32
	}
	at := specPath.Child("ports")
	if s.Type == corev1.ServiceTypeClusterIP {
		for i, p := range s.Ports {
			if p.NodePort != 0 {
				f.Forbidden(at.Index(i).Child("nodePort"), "may not be used when `type` is 'ClusterIP'")
			}
		}
	}
	nodePorts, ports := rule.Seen[key]{}, rule.Seen[key]{}
	for i, p := range s.Ports {
		if p.NodePort != 0 && nodePorts.Again(key{p.Protocol, p.NodePort}) {
			f.Duplicate(at.Index(i).Child("nodePort"), p.NodePort)
		}
	}
	for i, p := range s.Ports {
		if ports.Again(key{p.Protocol, p.Port}) {
			f.Duplicate(at.Index(i), corev1.ServicePort{Protocol: p.Protocol, Port: p.Port})
		}
	}
}

func affinity(f *rule.Faults, s *corev1.ServiceSpec) {
	if f.Need(specPath.Child("sessionAffinity"), string(s.SessionAffinity)) {
		rule.OneOf(f, specPath.Child("sessionAffinity"), s.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	}
	at, c := specPath.Child("sessionAffinityConfig"), s.SessionAffinityConfig
	switch s.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if c != nil {
			f.Forbidden(at, "must not be set when session affinity is None")
		}
	case corev1.ServiceAffinityClientIP:
		const when = "when session affinity type is ClientIP"
		switch {
		case c == nil:
			f.Required(at, when)
		case c.ClientIP == nil:
			f.Required(at.Child("clientIP"), when)
		case c.ClientIP.TimeoutSeconds == nil:
			f.Required(at.Child("clientIP", "timeoutSeconds"), when)
		case *c.ClientIP.TimeoutSeconds <= 0 || *c.ClientIP.TimeoutSeconds > 86400:
			f.Invalid(at.Child("clientIP", "timeoutSeconds"), c.ClientIP.TimeoutSeconds, "must be greater than 0 and less than 86400")
		}
	}
}

func sourceRanges(f *rule.Faults, s, old *corev1.Service) {
	const only = "may only be used when `type` is 'LoadBalancer'"
	if ranges := s.Spec.LoadBalancerSourceRanges; len(ranges) > 0 {
		at := specPath.Child("LoadBalancerSourceRanges")
		if !isLoadBalancer(&s.Spec) {
			f.Forbidden(at, only)
		}
		var was []string
		if old != nil {
			for _, r := range old.Spec.LoadBalancerSourceRanges {
				was = append(was, strings.TrimSpace(r))
			}
		}
		for i, r := range ranges {
			f.CIDR(at.Index(i), strings.TrimSpace(r), was...)
		}
		return
	}
	text, ok := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	if !ok {
		return
	}
	at := annotationsPath.Key(corev1.AnnotationLoadBalancerSourceRangesKey)
	if !isLoadBalancer(&s.Spec) {
		f.Forbidden(at, only)
	}
	if text = strings.TrimSpace(text); text == "" || old != nil && old.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey] == text {
		return
	}
	for _, r := range strings.Split(text, ",") {
		f.CIDR(at, strings.TrimSpace(r))
	}
}

const onlyLoadBalancer = "may only be used when `type` is 'LoadBalancer'"

func loadBalancer(f *rule.Faults, s *corev1.ServiceSpec) {
	switch lb := isLoadBalancer(s); {
	case lb && s.AllocateLoadBalancerNodePorts == nil:
		f.Required(field.NewPath("allocateLoadBalancerNodePorts"), "")
	case !lb && s.AllocateLoadBalancerNodePorts != nil:
		f.Forbidden(specPath.Child("allocateLoadBalancerNodePorts"), onlyLoadBalancer)
	}
	loadBalancerClass(f, s)
}

func loadBalancerClass(f *rule.Faults, s *corev1.ServiceSpec) {
	switch class := s.LoadBalancerClass; {
	case class == nil:
	case isLoadBalancer(s):
		f.QualifiedName(specPath.Child("loadBalancerClass"), *class)
	default:
		f.Forbidden(specPath.Child("loadBalancerClass"), onlyLoadBalancer)
	}
}

func traffic(f *rule.Faults, s *corev1.ServiceSpec) {
	at := specPath.Child("externalTrafficPolicy")
	if ExternallyAccessible(s) {
		if f.Need(at, string(s.ExternalTrafficPolicy)) {
			rule.OneOf(f, at, s.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
		}
	} else if s.ExternalTrafficPolicy != "" {
		f.Invalid(at, s.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	}
	at = specPath.Child("healthCheckNodePort")
	switch {
	case !hasHealthPort(s) && s.HealthCheckNodePort != 0:
		f.Invalid(at, s.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
	case !hasHealthPort(s):
	case s.HealthCheckNodePort == 0:
		f.Required(at, "")
	default:
		f.Port(at, s.HealthCheckNodePort)
	}
	at = specPath.Child("internalTrafficPolicy")
	if p := s.InternalTrafficPolicy; p != nil {
		rule.OneOf(f, at, *p, internalPolicies...)
	} else if hasClusterIP(s) {
		f.Required(at, "")
	}
	if d := s.TrafficDistribution; d != nil {
		known := []string{
			corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode,
		}
		if !slices.Contains(known, *d) {
			f.Add(field.NotSupported(specPath.Child("trafficDistribution"), *d, known))
		}
	}
}

// EndpointIP refuses addresses that only the machine itself or its link can reach.
func EndpointIP(f *rule.Faults, at *field.Path, text string) {
	ip := netutils.ParseIPSloppy(text)
	switch {
	case ip == nil:
		f.Invalid(at, text, "must be a valid IP address")
	case ip.IsUnspecified():
		f.Invalid(at, text, "may not be unspecified ("+text+")")
	case ip.IsLoopback():
		f.Invalid(at, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	case ip.IsLinkLocalUnicast():
		f.Invalid(at, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	case ip.IsLinkLocalMulticast():
		f.Invalid(at, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
}

func validateStatus(s, old *corev1.Service) field.ErrorList {
	f := &rule.Faults{}
	at := field.NewPath("status", "loadBalancer", "ingress")
	if len(s.Status.LoadBalancer.Ingress) > 0 && !isLoadBalancer(&s.Spec) {
		f.Forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'")
		return f.List
	}
	var was []string
	for _, ing := range old.Status.LoadBalancer.Ingress {
		was = append(was, ing.IP)
	}
	for i, ing := range s.Status.LoadBalancer.Ingress {
		path := at.Index(i)
		if ing.IP != "" {
			f.IP(path.Child("ip"), ing.IP, was...)
		}
		switch {
		case ing.IPMode == nil && ing.IP != "":
			f.Required(path.Child("ipMode"), "must be specified when `ip` is set")
		case ing.IPMode == nil:
		case ing.IP == "":
			f.Forbidden(path.Child("ipMode"), "may not be specified when `ip` is not set")
		default:
			rule.OneOf(f, path.Child("ipMode"), *ing.IPMode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)
		}
		if ing.Hostname != "" {
			f.Each(path.Child("hostname"), ing.Hostname, utilvalidation.IsDNS1123Subdomain(ing.Hostname))
			if netutils.ParseIPSloppy(ing.Hostname) != nil {
				f.Invalid(path.Child("hostname"), ing.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return f.List
}
