package legacy

import (
	"fmt"

	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"

	"clipper/api"
)

// ingress converts one of the two kinds whose shape has changed: a backend names its service in fields of its own now.
func ingress(obj api.Object) (api.Object, error) {
	if old, ok := obj.(*extensionsv1beta1.Ingress); ok {
		same, err := rewritten(func() api.Object { return &networkingv1beta1.Ingress{} })(old)
		if err != nil {
			return nil, err
		}
		obj = same
	}
	old, ok := obj.(*networkingv1beta1.Ingress)
	if !ok {
		return nil, fmt.Errorf("%T is no ingress of an earlier version", obj)
	}
	out := &networkingv1.Ingress{ObjectMeta: old.ObjectMeta}
	out.Spec.IngressClassName = old.Spec.IngressClassName
	if old.Spec.Backend != nil {
		b := backend(*old.Spec.Backend)
		out.Spec.DefaultBackend = &b
	}
	for _, t := range old.Spec.TLS {
		out.Spec.TLS = append(out.Spec.TLS, networkingv1.IngressTLS{Hosts: t.Hosts, SecretName: t.SecretName})
	}
	for _, r := range old.Spec.Rules {
		out.Spec.Rules = append(out.Spec.Rules, rule(r))
	}
	for _, in := range old.Status.LoadBalancer.Ingress {
		to := networkingv1.IngressLoadBalancerIngress{IP: in.IP, Hostname: in.Hostname}
		for _, p := range in.Ports {
			to.Ports = append(to.Ports, networkingv1.IngressPortStatus{Port: p.Port, Protocol: p.Protocol, Error: p.Error})
		}
		out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, to)
	}
	return out, nil
}

func rule(old networkingv1beta1.IngressRule) networkingv1.IngressRule {
	out := networkingv1.IngressRule{Host: old.Host}
	if old.HTTP == nil {
		return out
	}
	out.HTTP = &networkingv1.HTTPIngressRuleValue{}
	for _, p := range old.HTTP.Paths {
		kind := networkingv1.PathTypeImplementationSpecific // what there was before there were types
		if p.PathType != nil {
			kind = networkingv1.PathType(*p.PathType)
		}
		out.HTTP.Paths = append(out.HTTP.Paths, networkingv1.HTTPIngressPath{Path: p.Path, PathType: &kind, Backend: backend(p.Backend)})
	}
	return out
}

func backend(old networkingv1beta1.IngressBackend) networkingv1.IngressBackend {
	out := networkingv1.IngressBackend{Resource: old.Resource}
	if old.ServiceName == "" {
		return out
	}
	port := networkingv1.ServiceBackendPort{Name: old.ServicePort.StrVal, Number: old.ServicePort.IntVal}
	out.Service = &networkingv1.IngressServiceBackend{Name: old.ServiceName, Port: port}
	return out
}
