package endpointslice

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/controllers/pods"
)

// Backs says whether p is listed behind a service at all, ready or not.
func Backs(p *corev1.Pod, terminating bool) bool {
	if pods.Finished(p) || p.Status.PodIP == "" && len(p.Status.PodIPs) == 0 {
		return false
	}
	return terminating || p.DeletionTimestamp == nil
}

// Addresses returns p's addresses of a family.
func Addresses(p *corev1.Pod, family discoveryv1.AddressType) []string {
	all := p.Status.PodIPs
	if len(all) == 0 {
		all = []corev1.PodIP{{IP: p.Status.PodIP}}
	}
	var out []string
	for _, ip := range all {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Is4() == (family == discoveryv1.AddressTypeIPv4) {
			out = append(out, ip.IP)
		}
	}
	return out
}

// TargetPort returns the number behind a service port in p; a named one may be missing.
func TargetPort(p *corev1.Pod, port corev1.ServicePort) (int32, bool) {
	if port.TargetPort.Type == intstr.Int {
		return port.TargetPort.IntVal, true
	}
	for _, c := range p.Spec.Containers {
		if n, ok := named(c, port); ok {
			return n, true
		}
	}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		if n, ok := named(c, port); ok {
			return n, true
		}
	}
	return 0, false
}

func named(c corev1.Container, port corev1.ServicePort) (int32, bool) {
	for _, cp := range c.Ports {
		if cp.Name == port.TargetPort.StrVal && cp.Protocol == port.Protocol {
			return cp.ContainerPort, true
		}
	}
	return 0, false
}

// Hostname returns the name that DNS gives p in the headless service svc; "" for none.
func Hostname(p *corev1.Pod, svc *corev1.Service) string {
	if p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name && p.Namespace == svc.Namespace {
		return p.Spec.Hostname
	}
	return ""
}

// endpoint describes p as a back end of svc.
func endpoint(svc *corev1.Service, p *corev1.Pod, node *corev1.Node, family discoveryv1.AddressType) discoveryv1.Endpoint {
	serving := pods.Ready(p)
	terminating := p.DeletionTimestamp != nil
	ready := svc.Spec.PublishNotReadyAddresses || serving && !terminating
	e := discoveryv1.Endpoint{
		Addresses:  Addresses(p, family),
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
	}
	if p.Spec.NodeName != "" {
		name := p.Spec.NodeName
		e.NodeName = &name
	}
	if node != nil {
		if zone := node.Labels[corev1.LabelTopologyZone]; zone != "" {
			e.Zone = &zone
		}
	}
	if h := Hostname(p, svc); h != "" {
		e.Hostname = &h
	}
	e.Hints = hints(svc, &e)
	return e
}

// hints says who should use an endpoint: those near it, if the service asks for that.
func hints(svc *corev1.Service, e *discoveryv1.Endpoint) *discoveryv1.EndpointHints {
	if svc.Spec.TrafficDistribution == nil || !*e.Conditions.Ready || e.Zone == nil {
		return nil
	}
	h := &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: *e.Zone}}}
	switch *svc.Spec.TrafficDistribution {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if e.NodeName != nil {
			h.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
		}
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
	default:
		return nil
	}
	return h
}

// ports resolves svc's ports in p. It is never nil.
func ports(svc *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	out := []discoveryv1.EndpointPort{}
	for _, sp := range svc.Spec.Ports {
		n, ok := TargetPort(p, sp)
		if !ok {
			continue
		}
		name, protocol := sp.Name, sp.Protocol
		out = append(out, discoveryv1.EndpointPort{Name: &name, Port: &n, Protocol: &protocol, AppProtocol: sp.AppProtocol})
	}
	return out
}
