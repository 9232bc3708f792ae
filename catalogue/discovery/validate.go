package discovery

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/service"
	"clipper/catalogue/rule"
)

// Limits of upstream: a slice stays small enough to be sent to every node.
const (
	maxTopology  = 16
	maxAddresses = 100
	maxPorts     = 20_000
	maxEndpoints = 1000
	maxHints     = 8
)

func validateSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	f := &rule.Faults{}
	addressType(f, s)
	ports(f, s.Ports)
	endpoints(f, s)
	return f.List
}

func validateSliceUpdate(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	f := &rule.Faults{}
	addressType(f, s)
	ports(f, s.Ports)
	if !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) { // what came in under older rules may stay
		endpoints(f, s)
	}
	f.Unchanged(field.NewPath("addressType"), s.AddressType, old.AddressType)
	return f.List
}

func addressType(f *rule.Faults, s *discoveryv1.EndpointSlice) {
	at := field.NewPath("addressType")
	if f.Need(at, string(s.AddressType)) {
		rule.OneOf(f, at, s.AddressType, discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	}
}

func ports(f *rule.Faults, list []discoveryv1.EndpointPort) {
	at := field.NewPath("ports")
	if len(list) > maxPorts {
		f.Add(field.TooMany(at, len(list), maxPorts))
	}
	names := rule.Seen[string]{}
	for i, p := range list {
		path, name := at.Index(i), ""
		if p.Name != nil {
			name = *p.Name
		}
		if name != "" {
			f.DNSLabel(path.Child("name"), name)
		}
		if names.Again(name) {
			f.Duplicate(path.Child("name"), name)
		}
		if p.Protocol == nil {
			f.Required(path.Child("protocol"), "")
		} else {
			rule.OneOf(f, path.Child("protocol"), *p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		}
		if p.AppProtocol != nil {
			f.QualifiedName(path.Child("appProtocol"), *p.AppProtocol)
		}
	}
}

func endpoints(f *rule.Faults, s *discoveryv1.EndpointSlice) {
	at := field.NewPath("endpoints")
	if len(s.Endpoints) > maxEndpoints {
		f.Add(field.TooMany(at, len(s.Endpoints), maxEndpoints))
	}
	for i := range s.Endpoints {
		e, path := &s.Endpoints[i], at.Index(i)
		addresses := path.Child("addresses")
		switch n := len(e.Addresses); {
		case n == 0:
			f.Required(addresses, "must contain at least 1 address")
		case n > maxAddresses:
			f.Add(field.TooMany(addresses, n, maxAddresses))
		}
		for j, a := range e.Addresses {
			address(f, s.AddressType, a, addresses, addresses.Index(j))
		}
		if e.NodeName != nil {
			f.DNSSubdomain(path.Child("nodeName"), *e.NodeName)
		}
		if n := len(e.DeprecatedTopology); n > maxTopology {
			f.Add(field.TooMany(path.Child("deprecatedTopology"), n, maxTopology))
		}
		f.Labels(path.Child("deprecatedTopology"), e.DeprecatedTopology)
		if e.Hostname != nil {
			f.DNSLabel(path.Child("hostname"), *e.Hostname)
		}
		if e.Hints != nil {
			hints(f, e.Hints, path.Child("hints"))
		}
	}
}

func address(f *rule.Faults, t discoveryv1.AddressType, text string, all, at *field.Path) {
	if t == discoveryv1.AddressTypeFQDN {
		f.Add(utilvalidation.IsFullyQualifiedDomainName(at, text)...)
		return
	}
	if t != discoveryv1.AddressTypeIPv4 && t != discoveryv1.AddressTypeIPv6 {
		return
	}
	before := len(f.List)
	f.IP(at, text)
	if len(f.List) > before {
		return
	}
	ip, err := netip.ParseAddr(text)
	if six := err == nil && ip.Is6() && !ip.Is4In6(); six != (t == discoveryv1.AddressTypeIPv6) {
		want := map[bool]string{true: "must be an IPv6 address", false: "must be an IPv4 address"}
		f.Invalid(all, text, want[t == discoveryv1.AddressTypeIPv6])
	}
	service.EndpointIP(f, at, text)
}

func hints(f *rule.Faults, h *discoveryv1.EndpointHints, at *field.Path) {
	if n := len(h.ForZones); n > maxHints {
		f.Add(field.TooMany(at.Child("forZones"), n, maxHints))
	}
	zones := rule.Seen[string]{}
	for i, z := range h.ForZones {
		path := at.Child("forZones").Index(i).Child("name")
		if zones.Again(z.Name) {
			f.Duplicate(path, z.Name)
		}
		f.Each(path, z.Name, utilvalidation.IsValidLabelValue(z.Name))
	}
	if n := len(h.ForNodes); n > maxHints {
		f.Add(field.TooMany(at.Child("forNodes"), n, maxHints))
	}
	nodes := rule.Seen[string]{}
	for i, node := range h.ForNodes {
		path := at.Child("forNodes").Index(i).Child("name")
		if nodes.Again(node.Name) {
			f.Duplicate(path, node.Name)
		}
		f.DNSSubdomain(path, node.Name)
	}
}
