package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// ttl of every answer about the cluster, and of its absence.
const ttl = 5

// Records is what the zone is made of: the live views, or a table in tests.
type Records interface {
	Service(namespace, name string) (*corev1.Service, bool)
	Slices(namespace, name string) []*discoveryv1.EndpointSlice
	HasNamespace(name string) bool
	// ByIP returns the services (namespace/name) with that cluster IP or with an endpoint of that address.
	ByIP(ip netip.Addr) []string
}

// A zone answers questions about one cluster domain. It has no clock and no socket.
type zone struct {
	domain  string // "cluster.local.", lower case
	records Records
}

// A reply is what the zone knows about a question.
type reply struct {
	rcode   int
	answer  []dns.RR
	extra   []dns.RR
	forward string // resolve this name with the upstream servers and append the answer; "" for no
	notOurs bool   // the question is about another zone altogether
}

// ask answers a question. Names are compared without regard to case and returned as they were asked.
func (z zone) ask(q dns.Question) reply {
	name := strings.ToLower(q.Name)
	switch {
	case name == z.domain || strings.HasSuffix(name, "."+z.domain):
		return z.inside(q, strings.TrimSuffix(strings.TrimSuffix(name, z.domain), "."))
	case strings.HasSuffix(name, ".in-addr.arpa.") || strings.HasSuffix(name, ".ip6.arpa."):
		return z.reverse(q, name)
	}
	return reply{notOurs: true}
}

// inside answers for rest, a name relative to the domain.
func (z zone) inside(q dns.Question, rest string) reply {
	labels := strings.Split(rest, ".")
	last := len(labels) - 1
	switch {
	case rest == "":
		return z.apex(q)
	case rest == "dns-version":
		return only(q, dns.TypeTXT, &dns.TXT{Hdr: header(q.Name, dns.TypeTXT), Txt: []string{"1.1.0"}})
	case rest == "ns.dns":
		return z.serviceRecords(q, "kube-dns", "kube-system", nil)
	case rest == "dns":
		return reply{}
	case labels[last] == "svc":
		return z.service(q, labels[:last])
	case labels[last] == "pod":
		return z.pod(q, labels[:last])
	}
	return reply{rcode: dns.RcodeNameError}
}

func (z zone) apex(q dns.Question) reply {
	switch q.Qtype {
	case dns.TypeSOA:
		return reply{answer: []dns.RR{z.soa()}}
	case dns.TypeNS:
		ns := &dns.NS{Hdr: header(z.domain, dns.TypeNS), Ns: "ns.dns." + z.domain}
		extra := z.serviceRecords(dns.Question{Name: ns.Ns, Qtype: dns.TypeA, Qclass: dns.ClassINET}, "kube-dns", "kube-system", nil)
		return reply{answer: []dns.RR{ns}, extra: extra.answer}
	}
	return reply{}
}

// soa goes with every negative answer. Its serial number is constant: nobody transfers this zone.
func (z zone) soa() dns.RR {
	return &dns.SOA{Hdr: header(z.domain, dns.TypeSOA), Ns: "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl}
}

// service answers for [[_port _protocol | host] service] namespace.
func (z zone) service(q dns.Question, labels []string) reply {
	switch n := len(labels); {
	case n == 0:
		return reply{}
	case n == 1:
		return z.namespace(labels[0])
	case n == 2:
		return z.serviceRecords(q, labels[0], labels[1], nil)
	case n == 3 && strings.HasPrefix(labels[0], "_"):
		return z.serviceRecords(q, labels[1], labels[2], func(p servicePort) bool { return "_"+p.protocol == labels[0] })
	case n == 3:
		return z.host(q, labels[0], labels[1], labels[2])
	case n == 4 && strings.HasPrefix(labels[0], "_") && strings.HasPrefix(labels[1], "_"):
		return z.serviceRecords(q, labels[2], labels[3], func(p servicePort) bool {
			return "_"+p.name == labels[0] && "_"+p.protocol == labels[1]
		})
	}
	return reply{rcode: dns.RcodeNameError}
}

// namespace: its name exists, without records of its own.
func (z zone) namespace(name string) reply {
	if z.records.HasNamespace(name) {
		return reply{}
	}
	return reply{rcode: dns.RcodeNameError}
}

// pod answers for a-b-c-d.namespace, whether or not there is a pod of that address, as CoreDNS does by default.
func (z zone) pod(q dns.Question, labels []string) reply {
	switch {
	case len(labels) == 0:
		return reply{}
	case len(labels) == 1:
		return z.namespace(labels[0])
	case len(labels) > 2 || !z.records.HasNamespace(labels[1]):
		return reply{rcode: dns.RcodeNameError}
	}
	ip, err := netip.ParseAddr(strings.ReplaceAll(labels[0], "-", "."))
	if err != nil {
		ip, err = netip.ParseAddr(strings.ReplaceAll(labels[0], "-", ":"))
	}
	if err != nil {
		return reply{rcode: dns.RcodeNameError}
	}
	return addresses(q, ip)
}

// A servicePort is a port that an SRV record can name, all lower case.
type servicePort struct {
	name, protocol string
	port           uint16
}

// serviceRecords answers for a service; with a filter for those of its ports that the filter lets through,
// and there must be one.
func (z zone) serviceRecords(q dns.Question, name, namespace string, filter func(servicePort) bool) reply {
	svc, ok := z.records.Service(namespace, name)
	if !ok {
		return reply{rcode: dns.RcodeNameError}
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		if filter != nil {
			return reply{rcode: dns.RcodeNameError}
		}
		return z.alias(q, svc.Spec.ExternalName)
	}
	if headless(svc) {
		return z.headlessRecords(q, svc, filter)
	}
	var srv []dns.RR
	for i := range svc.Spec.Ports {
		p := svc.Spec.Ports[i]
		sp := servicePort{strings.ToLower(p.Name), strings.ToLower(string(p.Protocol)), uint16(p.Port)}
		if filter == nil || filter(sp) {
			srv = append(srv, srvRecord(q.Name, z.nameOf(svc), sp.port))
		}
	}
	if filter != nil && len(srv) == 0 {
		return reply{rcode: dns.RcodeNameError}
	}
	ips := clusterIPs(svc)
	if q.Qtype == dns.TypeSRV {
		target := dns.Question{Name: z.nameOf(svc), Qtype: dns.TypeA}
		return reply{answer: weigh(srv), extra: addresses(target, ips...).answer}
	}
	return addresses(q, ips...)
}

func headless(svc *corev1.Service) bool { return svc.Spec.ClusterIP == corev1.ClusterIPNone }

func clusterIPs(svc *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, s := range append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...) {
		if ip, err := netip.ParseAddr(s); err == nil && !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	return out
}

func (z zone) nameOf(svc *corev1.Service) string {
	return svc.Name + "." + svc.Namespace + ".svc." + z.domain
}

// A member is an endpoint of a service as DNS sees it.
type member struct {
	ip    netip.Addr
	host  string // its hostname, or its address with dashes
	ports []servicePort
}

// members returns the ready endpoints of a service.
func (z zone) members(namespace, name string) []member {
	var out []member
	for _, s := range z.records.Slices(namespace, name) {
		if s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		var ports []servicePort
		for _, p := range s.Ports {
			if p.Port != nil {
				sp := servicePort{protocol: "tcp", port: uint16(*p.Port)}
				if p.Name != nil {
					sp.name = strings.ToLower(*p.Name)
				}
				if p.Protocol != nil {
					sp.protocol = strings.ToLower(string(*p.Protocol))
				}
				ports = append(ports, sp)
			}
		}
		for i := range s.Endpoints {
			out = appendMembers(out, &s.Endpoints[i], ports)
		}
	}
	return out
}

func appendMembers(out []member, e *discoveryv1.Endpoint, ports []servicePort) []member {
	if e.Conditions.Ready != nil && !*e.Conditions.Ready {
		return out
	}
	for _, a := range e.Addresses {
		ip, err := netip.ParseAddr(a)
		if err != nil {
			continue
		}
		m := member{ip: ip, host: strings.NewReplacer(".", "-", ":", "-").Replace(a), ports: ports}
		if e.Hostname != nil && *e.Hostname != "" {
			m.host = strings.ToLower(*e.Hostname)
		}
		out = append(out, m)
	}
	return out
}

func (z zone) headlessRecords(q dns.Question, svc *corev1.Service, filter func(servicePort) bool) reply {
	var ips []netip.Addr
	var srv, extra []dns.RR
	matched := filter == nil
	for _, m := range z.members(svc.Namespace, svc.Name) {
		ips = append(ips, m.ip)
		target := m.host + "." + z.nameOf(svc)
		named := false
		for _, p := range m.ports {
			if filter == nil || filter(p) {
				srv, named, matched = append(srv, srvRecord(q.Name, target, p.port)), true, true
			}
		}
		if named {
			extra = append(extra, addresses(dns.Question{Name: target, Qtype: addressType(m.ip)}, m.ip).answer...)
		}
	}
	switch {
	case !matched || len(ips) == 0: // as CoreDNS: a headless service without endpoints has no name
		return reply{rcode: dns.RcodeNameError}
	case q.Qtype == dns.TypeSRV:
		return reply{answer: weigh(unique(srv)), extra: unique(extra)}
	}
	return addresses(q, ips...)
}

// host answers for host.service.namespace: an endpoint by its hostname, or by its address with dashes.
func (z zone) host(q dns.Question, host, name, namespace string) reply {
	if _, ok := z.records.Service(namespace, name); !ok {
		return reply{rcode: dns.RcodeNameError}
	}
	var ips []netip.Addr
	var srv []dns.RR
	for _, m := range z.members(namespace, name) {
		if m.host != host {
			continue
		}
		ips = append(ips, m.ip)
		for _, p := range m.ports {
			srv = append(srv, srvRecord(q.Name, q.Name, p.port))
		}
	}
	if len(ips) == 0 {
		return reply{rcode: dns.RcodeNameError}
	}
	if q.Qtype == dns.TypeSRV {
		return reply{answer: weigh(unique(srv)), extra: addresses(dns.Question{Name: q.Name, Qtype: dns.TypeA}, ips...).answer}
	}
	return addresses(q, ips...)
}

// alias answers for an ExternalName service.
func (z zone) alias(q dns.Question, target string) reply {
	target = dns.Fqdn(target)
	if _, valid := dns.IsDomainName(target); !valid || strings.EqualFold(target, q.Name) {
		return reply{rcode: dns.RcodeServerFailure}
	}
	r := reply{answer: []dns.RR{&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: target}}}
	if q.Qtype != dns.TypeA && q.Qtype != dns.TypeAAAA {
		return r
	}
	// Followed one step inside the cluster: an alias of an alias is left to the client, so that two that
	// point at each other cost nothing.
	next := z.ask(dns.Question{Name: target, Qtype: q.Qtype, Qclass: q.Qclass})
	switch {
	case next.notOurs:
		r.forward = target
	case next.forward == "":
		r.answer = append(r.answer, next.answer...)
	}
	return r
}

// reverse answers PTR questions for service and endpoint addresses; other addresses are not ours.
func (z zone) reverse(q dns.Question, name string) reply {
	ip, ok := reversedIP(name)
	if !ok {
		return reply{notOurs: true}
	}
	var out []dns.RR
	for _, key := range z.records.ByIP(ip) {
		namespace, svcName, _ := strings.Cut(key, "/")
		svc, ok := z.records.Service(namespace, svcName)
		if !ok {
			continue
		}
		if slices.Contains(clusterIPs(svc), ip) {
			out = append(out, &dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: z.nameOf(svc)})
		}
		for _, m := range z.members(namespace, svcName) {
			if m.ip == ip {
				out = append(out, &dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: m.host + "." + z.nameOf(svc)})
			}
		}
	}
	if len(out) == 0 {
		return reply{notOurs: true}
	}
	if q.Qtype != dns.TypePTR {
		return reply{}
	}
	return reply{answer: unique(out)}
}

// reversedIP reads 4.3.2.1.in-addr.arpa. and its IPv6 counterpart.
func reversedIP(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		labels := strings.Split(rest, ".")
		slices.Reverse(labels)
		ip, err := netip.ParseAddr(strings.Join(labels, "."))
		return ip, err == nil && ip.Is4()
	}
	labels := strings.Split(strings.TrimSuffix(name, ".ip6.arpa."), ".")
	if len(labels) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(labels)
	var b strings.Builder
	for i, l := range labels {
		if len(l) != 1 {
			return netip.Addr{}, false
		}
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(l)
	}
	ip, err := netip.ParseAddr(b.String())
	return ip, err == nil
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

func addressType(ip netip.Addr) uint16 {
	if ip.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

// addresses answers with those of ips that are of the type asked for: none is "no data", not "no such name".
func addresses(q dns.Question, ips ...netip.Addr) reply {
	var r reply
	for _, ip := range ips {
		if addressType(ip) != q.Qtype {
			continue
		}
		if q.Qtype == dns.TypeA {
			r.answer = append(r.answer, &dns.A{Hdr: header(q.Name, dns.TypeA), A: ip.AsSlice()})
		} else {
			r.answer = append(r.answer, &dns.AAAA{Hdr: header(q.Name, dns.TypeAAAA), AAAA: ip.AsSlice()})
		}
	}
	r.answer = unique(r.answer)
	return r
}

// only answers with rr if it is what was asked for.
func only(q dns.Question, rrtype uint16, rr dns.RR) reply {
	if q.Qtype != rrtype {
		return reply{}
	}
	return reply{answer: []dns.RR{rr}}
}

func srvRecord(name, target string, port uint16) dns.RR {
	return &dns.SRV{Hdr: header(name, dns.TypeSRV), Priority: 0, Port: port, Target: target}
}

// weigh shares the weight of 100 among SRV records, as CoreDNS does.
func weigh(srv []dns.RR) []dns.RR {
	for _, rr := range srv {
		rr.(*dns.SRV).Weight = uint16(max(1, 100/len(srv)))
	}
	return srv
}

// unique drops records that say the same, by their data.
func unique(rrs []dns.RR) []dns.RR {
	if len(rrs) < 2 {
		return rrs
	}
	seen := make(map[string]bool, len(rrs))
	return slices.DeleteFunc(rrs, func(rr dns.RR) bool {
		var k string
		switch v := rr.(type) {
		case *dns.A:
			k = v.Hdr.Name + string(v.A)
		case *dns.AAAA:
			k = v.Hdr.Name + string(v.AAAA)
		case *dns.SRV:
			k = v.Target + ":" + strconv.Itoa(int(v.Port))
		case *dns.PTR:
			k = v.Ptr
		}
		dup := seen[k]
		seen[k] = true
		return dup
	})
}
