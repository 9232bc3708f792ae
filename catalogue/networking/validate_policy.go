package networking

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

var specPath = field.NewPath("spec")

// A policyCheck is one pass over a network policy: what an update may keep of the old one.
type policyCheck struct {
	*rule.Faults
	lax   bool
	known []string // ranges that were there before
}

func validateNetworkPolicy(p, old *networkingv1.NetworkPolicy) field.ErrorList {
	v := policyCheck{Faults: &rule.Faults{}}
	if old != nil {
		v.lax = rule.LaxSelector(&old.Spec.PodSelector)
		v.known = ranges(&old.Spec)
	}
	s := &p.Spec
	v.Selector(specPath.Child("podSelector"), &s.PodSelector, v.lax)
	for i := range s.Ingress {
		at := specPath.Child("ingress").Index(i)
		v.ports(s.Ingress[i].Ports, at.Child("ports"))
		v.peers(s.Ingress[i].From, at.Child("from"))
	}
	for i := range s.Egress {
		at := specPath.Child("egress").Index(i)
		v.ports(s.Egress[i].Ports, at.Child("ports"))
		v.peers(s.Egress[i].To, at.Child("to"))
	}
	types := specPath.Child("policyTypes")
	if len(s.PolicyTypes) > 2 {
		v.Invalid(types, &s.PolicyTypes, "may not specify more than two policyTypes")
		return v.List
	}
	for i, t := range s.PolicyTypes {
		if known := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}; !slices.Contains(known, t) {
			v.Add(field.NotSupported(types.Index(i), t, known))
		}
	}
	return v.List
}

func ranges(s *networkingv1.NetworkPolicySpec) (out []string) {
	add := func(peers []networkingv1.NetworkPolicyPeer) {
		for _, p := range peers {
			if p.IPBlock != nil {
				out = append(append(out, p.IPBlock.CIDR), p.IPBlock.Except...)
			}
		}
	}
	for i := range s.Ingress {
		add(s.Ingress[i].From)
	}
	for i := range s.Egress {
		add(s.Egress[i].To)
	}
	return out
}

func (v policyCheck) ports(list []networkingv1.NetworkPolicyPort, at *field.Path) {
	for i, p := range list {
		path := at.Index(i)
		protocols := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
		if p.Protocol != nil && !slices.Contains(protocols, *p.Protocol) {
			v.Add(field.NotSupported(path.Child("protocol"), *p.Protocol, protocols))
		}
		end := path.Child("endPort")
		switch {
		case p.Port == nil:
			if p.EndPort != nil {
				v.Invalid(end, *p.EndPort, "may not be specified when `port` is not specified")
			}
		case p.Port.Type == intstr.Int:
			v.Port(path.Child("port"), p.Port.IntVal)
			if p.EndPort != nil {
				if *p.EndPort < p.Port.IntVal {
					v.Invalid(end, p.Port.IntVal, "must be greater than or equal to `port`")
				}
				v.Port(end, *p.EndPort)
			}
		default:
			if p.EndPort != nil {
				v.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric")
			}
			v.Each(path.Child("port"), p.Port.StrVal, utilvalidation.IsValidPortName(p.Port.StrVal))
		}
	}
}

func (v policyCheck) peers(list []networkingv1.NetworkPolicyPeer, at *field.Path) {
	for i, p := range list {
		path, sorts := at.Index(i), 0
		selector := func(name string, s *metav1.LabelSelector) {
			if s != nil {
				sorts++
				v.Selector(path.Child(name), s, v.lax)
			}
		}
		selector("podSelector", p.PodSelector)
		selector("namespaceSelector", p.NamespaceSelector)
		if p.IPBlock != nil {
			sorts++
			v.block(p.IPBlock, path.Child("ipBlock"))
		}
		if sorts == 0 {
			v.Required(path, "must specify a peer")
		} else if sorts > 1 && p.IPBlock != nil {
			v.Forbidden(path, "may not specify both ipBlock and another peer")
		}
	}
}

func (v policyCheck) block(b *networkingv1.IPBlock, at *field.Path) {
	if !v.Need(at.Child("cidr"), b.CIDR) {
		return
	}
	v.CIDR(at.Child("cidr"), b.CIDR, v.known...)
	whole, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return
	}
	for i, text := range b.Except {
		path := at.Child("except").Index(i)
		v.CIDR(path, text, v.known...)
		if part, err := netip.ParsePrefix(text); err == nil && (!whole.Contains(part.Addr()) || whole.Bits() >= part.Bits()) {
			v.Invalid(path, text, "must be a strict subset of `cidr`")
		}
	}
}

func policyWarnings(p, _ *networkingv1.NetworkPolicy) (out []string) {
	warn := func(peers []networkingv1.NetworkPolicyPeer, at *field.Path) {
		for i, peer := range peers {
			if peer.IPBlock == nil {
				continue
			}
			path := at.Index(i).Child("ipBlock")
			out = append(out, utilvalidation.GetWarningsForCIDR(path.Child("cidr"), peer.IPBlock.CIDR)...)
			for j, except := range peer.IPBlock.Except {
				out = append(out, utilvalidation.GetWarningsForCIDR(path.Child("except").Index(j), except)...)
			}
		}
	}
	for i := range p.Spec.Ingress {
		warn(p.Spec.Ingress[i].From, specPath.Child("ingress").Index(i).Child("from"))
	}
	for i := range p.Spec.Egress {
		warn(p.Spec.Egress[i].To, specPath.Child("egress").Index(i).Child("to"))
	}
	return out
}
