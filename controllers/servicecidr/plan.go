package servicecidr

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/allocate"
)

// Finalizer keeps a ServiceCIDR while services hold addresses that are in no other.
const Finalizer = "networking.k8s.io/service-cidr-finalizer"

// notice is how long a ServiceCIDR that goes is kept after it was deleted, so that every server has stopped
// to allocate from it. Upstream's figure.
const notice = 10 * time.Second

// A plan says what a ServiceCIDR needs next.
type plan struct {
	finalizer *bool // add it or take it off; nil: leave it
	ready     *metav1.Condition
	again     time.Duration // look again then
}

// planRange decides about c. all are the ServiceCIDRs that there are, c among them; used are the addresses
// that services hold.
func planRange(c *networkingv1.ServiceCIDR, all []*networkingv1.ServiceCIDR, used []netip.Addr, now time.Time) plan {
	has := slices.Contains(c.Finalizers, Finalizer)
	if c.DeletionTimestamp == nil {
		p := plan{ready: &metav1.Condition{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready",
		}}
		if add := true; !has {
			p.finalizer = &add
		}
		return p
	}
	if !has {
		return plan{}
	}
	if orphans(c, all, used) {
		return plan{ready: &metav1.Condition{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
			Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
		}}
	}
	if left := notice - now.Sub(c.DeletionTimestamp.Time); left > 0 {
		return plan{again: left}
	}
	off := false
	return plan{finalizer: &off}
}

// orphans says that an address in use would be in no range without c.
func orphans(c *networkingv1.ServiceCIDR, all []*networkingv1.ServiceCIDR, used []netip.Addr) bool {
	var others []netip.Prefix
	for _, o := range all {
		if o.Name != c.Name {
			others = append(others, prefixes(o)...)
		}
	}
	inside := func(list []netip.Prefix, ip netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return allocate.Holds(p, ip) })
	}
	own := prefixes(c)
	return slices.ContainsFunc(used, func(ip netip.Addr) bool { return inside(own, ip) && !inside(others, ip) })
}

func prefixes(c *networkingv1.ServiceCIDR) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// addressesOf are the cluster IPs that a service holds; nil is none.
func addressesOf(svc *corev1.Service) []netip.Addr {
	if svc == nil || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	var out []netip.Addr
	for _, text := range svc.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil { // a headless service has None
			out = append(out, ip)
		}
	}
	return out
}

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// addressFor is the IPAddress that stands for an address of a service.
func addressFor(svc *corev1.Service, ip netip.Addr) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(familyOf(ip)),
			networkingv1.LabelManagedBy:       allocate.ManagedBy,
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{
			Resource: api.Services.Resource.Name, Namespace: svc.Namespace, Name: svc.Name,
		}},
	}
}
