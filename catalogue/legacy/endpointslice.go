package legacy

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	discoveryv1beta1 "k8s.io/api/discovery/v1beta1"

	"clipper/api"
)

// endpointSlice converts the other kind whose shape has changed: node and zone were labels of an endpoint.
func endpointSlice(obj api.Object) (api.Object, error) {
	old, ok := obj.(*discoveryv1beta1.EndpointSlice)
	if !ok {
		return nil, fmt.Errorf("%T is no endpoint slice of an earlier version", obj)
	}
	out := &discoveryv1.EndpointSlice{ObjectMeta: old.ObjectMeta, AddressType: discoveryv1.AddressType(old.AddressType)}
	for _, p := range old.Ports {
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: p.Name, Protocol: p.Protocol, Port: p.Port, AppProtocol: p.AppProtocol})
	}
	for _, e := range old.Endpoints {
		out.Endpoints = append(out.Endpoints, endpoint(e))
	}
	return out, nil
}

func endpoint(old discoveryv1beta1.Endpoint) discoveryv1.Endpoint {
	out := discoveryv1.Endpoint{
		Addresses: old.Addresses, Hostname: old.Hostname, TargetRef: old.TargetRef, NodeName: old.NodeName,
		Conditions: discoveryv1.EndpointConditions{Ready: old.Conditions.Ready, Serving: old.Conditions.Serving, Terminating: old.Conditions.Terminating},
	}
	if node, ok := old.Topology[corev1.LabelHostname]; ok && out.NodeName == nil {
		out.NodeName = &node
	}
	if zone, ok := old.Topology[corev1.LabelTopologyZone]; ok {
		out.Zone = &zone
	}
	rest := maps.Clone(old.Topology)
	delete(rest, corev1.LabelHostname)
	delete(rest, corev1.LabelTopologyZone)
	if len(rest) > 0 {
		out.DeprecatedTopology = rest
	}
	if old.Hints != nil {
		out.Hints = &discoveryv1.EndpointHints{}
		for _, z := range old.Hints.ForZones {
			out.Hints.ForZones = append(out.Hints.ForZones, discoveryv1.ForZone{Name: z.Name})
		}
	}
	return out
}
