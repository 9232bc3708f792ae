// Package service makes a node treat Services as a v1.36 kube-proxy does: traffic to a service's address or
// port reaches one of its endpoints. compile decides, a pure function from Services and EndpointSlices to a
// Ruleset of plain values; kernel.go writes the difference between two of them to nftables in one
// transaction; Proxy follows the API and joins the two.
//
// The table clipper-services looks a packet's destination up in one map and goes on in the chain found there,
// so the cost does not grow with the number of services. A chain rewrites the destination to a random
// endpoint by another map. What has no endpoint is refused in the filter hooks, where rejecting is allowed.
package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Facts are what compiling has to know of the node.
type Facts struct {
	NodeName string
	Zone     string       // its topology.kubernetes.io/zone
	PodCIDR  netip.Prefix // sources in it are this node's pods
}

// A compiled is one service's part of the rule set and what else follows from it.
type compiled struct {
	rules  Ruleset
	flows  []udpFlow
	health *healthCheck // for a load balancer with externalTrafficPolicy Local
}

// proxied reports whether a service has an address for us to serve.
func proxied(s *corev1.Service) bool {
	return s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone && !declined(s.Labels)
}

// declined reports whether labels leave an object to somebody else: either one is enough, whatever its value.
func declined(labels map[string]string) bool {
	_, other := labels["service.kubernetes.io/service-proxy-name"]
	_, none := labels[corev1.IsHeadlessService]
	return other || none
}

func compileService(s *corev1.Service, sl []*discoveryv1.EndpointSlice, f Facts) compiled {
	c := compiled{rules: newRuleset()}
	if !proxied(s) {
		return c
	}
	localReady := map[netip.Addr]bool{}
	for i := range s.Spec.Ports {
		p := newPort(s, &s.Spec.Ports[i], f)
		p.choose(endpointsOf(sl, p.spec), f)
		p.compile(c.rules)
		if p.spec.Protocol == corev1.ProtocolUDP {
			c.flows = append(c.flows, p.flow())
		}
		for _, ep := range p.localReady {
			localReady[ep.Addr()] = true
		}
	}
	if s.Spec.HealthCheckNodePort > 0 && s.Spec.Type == corev1.ServiceTypeLoadBalancer && externalLocal(s) {
		c.health = &healthCheck{Namespace: s.Namespace, Name: s.Name, Port: uint16(s.Spec.HealthCheckNodePort), Local: len(localReady)}
	}
	return c
}

// A port is one port of a service on its way through compile.
type port struct {
	svc  *corev1.Service
	spec *corev1.ServicePort
	f    Facts
	path string // namespace/name/protocol/port, for chain names

	cluster, local []netip.AddrPort // endpoints by traffic policy
	localReady     []netip.AddrPort // without those that only serve until they have terminated
	any            bool             // there is one somewhere in the cluster
}

func newPort(s *corev1.Service, spec *corev1.ServicePort, f Facts) *port {
	return &port{svc: s, spec: spec, f: f,
		path: fmt.Sprintf("%s/%s/%s/%d", s.Namespace, s.Name, strings.ToLower(string(spec.Protocol)), spec.Port)}
}

func externalLocal(s *corev1.Service) bool {
	return s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func internalLocal(s *corev1.Service) bool {
	return s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
}

// external are the addresses of the service that are not its cluster IP.
func (p *port) external() []netip.Addr {
	var out []netip.Addr
	for _, s := range p.svc.Spec.ExternalIPs {
		out = appendIPv4(out, s)
	}
	return append(out, p.loadBalancer()...)
}

func (p *port) loadBalancer() []netip.Addr {
	var out []netip.Addr
	if p.svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	for _, in := range p.svc.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			out = appendIPv4(out, in.IP)
		}
	}
	return out
}

func appendIPv4(to []netip.Addr, s string) []netip.Addr {
	if a, err := netip.ParseAddr(s); err == nil && a.Is4() && !slices.Contains(to, a) {
		return append(to, a)
	}
	return to
}

func (p *port) clusterIP() (netip.Addr, bool) {
	for _, s := range append([]string{p.svc.Spec.ClusterIP}, p.svc.Spec.ClusterIPs...) {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// compile adds the port's elements and chains.
func (p *port) compile(r Ruleset) {
	for _, ep := range append(slices.Clone(p.cluster), p.local...) {
		if p.f.PodCIDR.Contains(ep.Addr()) {
			r.Elements[Element{Set: setHairpin, Addr: ep.Addr()}] = ""
		}
	}
	if len(p.cluster) > 0 {
		p.balance(r, p.chain("svc"), p.cluster)
	}
	if len(p.local) > 0 {
		p.balance(r, p.chain("local"), p.local)
	}
	if ip, ok := p.clusterIP(); ok {
		r.Elements[Element{Set: setClusterIPs, Addr: ip}] = ""
		p.frontend(r, setServiceIPs, setRefusedIPs, ip, uint16(p.spec.Port), p.target(internalLocal(p.svc)))
	}
	target := p.externalTarget(r)
	for _, ip := range p.external() {
		p.frontend(r, setServiceIPs, setRefusedIPs, ip, uint16(p.spec.Port), target)
	}
	p.firewall(r)
	if p.spec.NodePort > 0 {
		p.frontend(r, setNodePorts, setRefusedPorts, netip.Addr{}, uint16(p.spec.NodePort), target)
	}
}

func (p *port) chain(kind string) string { return kind + "/" + p.path }

// target is where traffic of a policy goes; what is not a chain is a refusal.
func (p *port) target(local bool) string {
	switch {
	case local && len(p.local) > 0:
		return p.chain("local")
	case local && p.any:
		return verdictDrop // another node has endpoints: the client should ask there
	case !local && len(p.cluster) > 0:
		return p.chain("svc")
	}
	return verdictReject
}

// externalTarget makes the chain that traffic from outside passes.
func (p *port) externalTarget(r Ruleset) string {
	if p.spec.NodePort == 0 && len(p.external()) == 0 {
		return verdictReject
	}
	local, name := externalLocal(p.svc), p.chain("ext")
	target := p.target(local)
	if !local {
		if isRefusal(target) {
			return target
		}
		r.Chains[name] = []Rule{{Do: Mark}, {Do: Goto, Chain: target}}
		return name
	}
	var rules []Rule
	if all := p.target(false); !isRefusal(all) {
		// From within the cluster an external address means the whole service, whatever its policy.
		rules = append(rules, Rule{From: p.f.PodCIDR, Do: Goto, Chain: all}, Rule{FromLocal: true, Do: Mark}, Rule{FromLocal: true, Do: Goto, Chain: all})
	}
	if !isRefusal(target) {
		rules = append(rules, Rule{Do: Goto, Chain: target})
	}
	if len(rules) == 0 {
		return target
	}
	r.Chains[name] = rules
	if isRefusal(target) {
		return name + " else " + target
	}
	return name
}

func isRefusal(target string) bool { return target == verdictReject || target == verdictDrop }

// frontend leads an address or port to target.
func (p *port) frontend(r Ruleset, open, refused string, ip netip.Addr, number uint16, target string) {
	chain, refusal, both := strings.Cut(target, " else ")
	e := Element{Addr: ip, Protocol: string(p.spec.Protocol), Port: number}
	if !isRefusal(chain) {
		e.Set = open
		r.Elements[e] = "goto " + chain
	} else {
		refusal, both = chain, true
	}
	if both {
		e.Set = refused
		r.Elements[e] = refusal
	}
}

// firewall limits a load balancer's clients to loadBalancerSourceRanges.
func (p *port) firewall(r Ruleset) {
	ips := p.loadBalancer()
	if len(ips) == 0 || len(p.svc.Spec.LoadBalancerSourceRanges) == 0 {
		return
	}
	name := p.chain("fw")
	var rules []Rule
	for _, s := range p.svc.Spec.LoadBalancerSourceRanges {
		if c, err := netip.ParsePrefix(strings.TrimSpace(s)); err == nil && c.Addr().Is4() {
			rules = append(rules, Rule{From: c.Masked(), Do: Allow})
		}
	}
	r.Chains[name] = append(rules, Rule{Do: Drop})
	for _, ip := range ips {
		r.Elements[Element{Set: setFirewallIPs, Addr: ip, Protocol: string(p.spec.Protocol), Port: uint16(p.spec.Port)}] = "goto " + name
	}
}

// balance makes the chain name lead to one of the endpoints.
func (p *port) balance(r Ruleset, name string, to []netip.AddrPort) {
	timeout, sticky := p.affinity()
	if !sticky {
		r.Chains[name] = []Rule{{Do: Balance, To: to}}
		return
	}
	// Each endpoint has a set of the clients that it served last and a chain of its own, so that the set goes
	// when the endpoint goes: no client is sent to one that is gone.
	var rules []Rule
	var chains []string
	for _, ep := range to {
		id := fmt.Sprintf("%s/%s/%d", p.path, ep.Addr(), ep.Port())
		set, chain := "client/"+id, "ep/"+id
		r.Affinity[set] = timeout
		r.Chains[chain] = []Rule{{Do: Remember, Set: set, Timeout: timeout, To: []netip.AddrPort{ep}}}
		rules, chains = append(rules, Rule{FromSet: set, Do: Goto, Chain: chain}), append(chains, chain)
	}
	r.Chains[name] = append(rules, Rule{Do: Scatter, Chains: chains})
}

func (p *port) affinity() (timeout time.Duration, sticky bool) {
	if p.svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0, false
	}
	const byDefault = 10800 * time.Second
	if c := p.svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second, true
	}
	return byDefault, true
}
