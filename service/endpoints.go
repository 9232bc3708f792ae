package service

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// An endpoint is one address and port behind a service port.
type endpoint struct {
	at                          netip.AddrPort
	node                        string
	ready, serving, terminating bool
	forNodes                    []string
	forZones                    []string
}

// endpointsOf collects the endpoints of one service port, ordered and each once.
func endpointsOf(all []*discoveryv1.EndpointSlice, spec *corev1.ServicePort) []endpoint {
	var out []endpoint
	for _, s := range all {
		if s.AddressType != discoveryv1.AddressTypeIPv4 || declined(s.Labels) {
			continue
		}
		for _, sp := range s.Ports {
			name, proto := "", corev1.ProtocolTCP
			if sp.Name != nil {
				name = *sp.Name
			}
			if sp.Protocol != nil {
				proto = *sp.Protocol
			}
			if sp.Port == nil || name != spec.Name || proto != spec.Protocol {
				continue
			}
			for i := range s.Endpoints {
				if ep, ok := newEndpoint(&s.Endpoints[i], uint16(*sp.Port)); ok {
					out = append(out, ep)
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b endpoint) int { return a.at.Compare(b.at) })
	return slices.CompactFunc(out, func(a, b endpoint) bool { return a.at == b.at })
}

func newEndpoint(e *discoveryv1.Endpoint, port uint16) (endpoint, bool) {
	if len(e.Addresses) == 0 {
		return endpoint{}, false
	}
	ip, err := netip.ParseAddr(e.Addresses[0]) // the only one that has a meaning
	if err != nil || !ip.Is4() || port == 0 {
		return endpoint{}, false
	}
	// Unknown readiness counts as ready, unknown serving follows ready, unknown terminating is no.
	ready := e.Conditions.Ready == nil || *e.Conditions.Ready
	ep := endpoint{at: netip.AddrPortFrom(ip, port), ready: ready, serving: ready,
		terminating: e.Conditions.Terminating != nil && *e.Conditions.Terminating}
	if e.Conditions.Serving != nil {
		ep.serving = *e.Conditions.Serving
	}
	if e.NodeName != nil {
		ep.node = *e.NodeName
	}
	if e.Hints != nil {
		for _, n := range e.Hints.ForNodes {
			ep.forNodes = append(ep.forNodes, n.Name)
		}
		for _, z := range e.Hints.ForZones {
			ep.forZones = append(ep.forZones, z.Name)
		}
	}
	return ep, true
}

func (e endpoint) lastResort() bool { return !e.ready && e.serving && e.terminating }

// choose fills in the endpoints for either traffic policy: the ready ones, or, where there is none, those
// that still serve while they terminate. Hints narrow the cluster's choice only if every ready endpoint has
// them and one is meant for this node.
func (p *port) choose(all []endpoint, f Facts) {
	meant := meantFor(all, f)
	mine := func(e endpoint) bool { return e.node == f.NodeName && e.node != "" }
	p.cluster = firstOf(all,
		func(e endpoint) bool { return e.ready && meant(e) },
		endpoint.lastResort)
	p.any = len(p.cluster) > 0
	if externalLocal(p.svc) || internalLocal(p.svc) {
		p.localReady = firstOf(all, func(e endpoint) bool { return e.ready && mine(e) })
		p.local = p.localReady
		if len(p.local) == 0 {
			p.local = firstOf(all, func(e endpoint) bool { return e.lastResort() && mine(e) })
		}
	}
}

// firstOf returns the endpoints that the first of the tests accepts that accepts any.
func firstOf(all []endpoint, tests ...func(endpoint) bool) []netip.AddrPort {
	for _, ok := range tests {
		var out []netip.AddrPort
		for _, e := range all {
			if ok(e) {
				out = append(out, e.at)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// meantFor returns the test by which hints choose; without usable hints it accepts all.
func meantFor(all []endpoint, f Facts) func(endpoint) bool {
	forNode := func(e endpoint) bool { return slices.Contains(e.forNodes, f.NodeName) }
	forZone := func(e endpoint) bool { return f.Zone != "" && slices.Contains(e.forZones, f.Zone) }
	nodeHints, zoneHints, node, zone := true, true, false, false
	for _, e := range all {
		if !e.ready {
			continue
		}
		nodeHints, zoneHints = nodeHints && len(e.forNodes) > 0, zoneHints && len(e.forZones) > 0
		node, zone = node || forNode(e), zone || forZone(e)
	}
	switch {
	case nodeHints && node:
		return forNode
	case zoneHints && zone:
		return forZone
	}
	return func(endpoint) bool { return true }
}
