package allocate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	errAllocated = errors.New("provided IP is already allocated")
	errFull      = errors.New("range is full")
)

// maxAddresses bounds an IPv6 range to what can be scanned; upstream allocates from as many.
const maxAddresses = 1 << 32

// addressBands is the range's usable size, without its first address and for IPv4 its last, split as
// upstream splits it: min(max(16, size/16), 256) for those asked for.
func addressBands(p netip.Prefix) span {
	bits := p.Addr().BitLen() - p.Bits()
	size := uint64(maxAddresses)
	if bits < 32 {
		size = 1 << bits
	}
	size-- // the network itself
	if p.Addr().Is4() && size > 1 {
		size-- // broadcast
	}
	return bands(size, 16, 256)
}

// at returns the address at an offset, counted from the one after the network's own.
func (f *family) at(offset uint64) netip.Addr {
	raw := f.prefix.Addr().As16()
	low := binary.BigEndian.Uint64(raw[8:])
	binary.BigEndian.PutUint64(raw[8:], low+offset+1)
	return netip.AddrFrom16(raw).Unmap().WithZone("")
}

func (f *family) contains(ip netip.Addr) bool {
	return f.prefix.Contains(ip) && ip != f.prefix.Addr()
}

func (t *taking) takeAddress(f *family, ip netip.Addr) error {
	if !f.contains(ip) {
		return fmt.Errorf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", ip, f.prefix)
	}
	if !f.pool.take(t.holder, ip) {
		return errAllocated
	}
	t.giveBack = append(t.giveBack, func() { f.pool.giveBack(ip) })
	return nil
}

func (t *taking) takeAnyAddress(f *family) (netip.Addr, error) {
	for offset := range f.span.offsets {
		if ip := f.at(offset); t.takeAddress(f, ip) == nil {
			return ip, nil
		}
	}
	return netip.Addr{}, errFull
}

// family returns the range of an IP family, or nil.
func (a *Allocator) family(name corev1.IPFamily) *family {
	for i := range a.families {
		if a.families[i].name == name {
			return &a.families[i]
		}
	}
	return nil
}

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func other(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// setFamilies decides spec.ipFamilyPolicy and spec.ipFamilies.
func (t *taking) setFamilies() error {
	spec := &t.svc.Spec
	if !needsClusterIP(t.svc) {
		return nil
	}
	if t.old != nil && needsClusterIP(t.old) && spec.IPFamilyPolicy == nil && len(spec.IPFamilies) == 0 {
		spec.IPFamilyPolicy, spec.IPFamilies = t.old.Spec.IPFamilyPolicy, slices.Clone(t.old.Spec.IPFamilies)
	}
	path := field.NewPath("spec")
	if headless(t.svc) && len(spec.Selector) == 0 {
		t.setSelectorless()
		return nil
	}
	t.familiesFromAddresses()
	if spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		spec.IPFamilyPolicy = &policy
		if len(spec.IPFamilies) == 2 || len(spec.ClusterIPs) == 2 {
			return t.invalid(field.Invalid(path.Child("ipFamilyPolicy"), nil, "must be RequireDualStack or PreferDualStack when multiple IP families are specified"))
		}
	}
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(t.families) < 2 {
		return t.invalid(field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range spec.IPFamilies {
		if t.family(f) == nil && (f == corev1.IPv4Protocol || f == corev1.IPv6Protocol) {
			return t.invalid(field.Invalid(path.Child("ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{t.families[0].name}
	}
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 && len(t.families) == 2 {
		spec.IPFamilies = append(spec.IPFamilies, other(spec.IPFamilies[0]))
	}
	return nil
}

// setSelectorless: whoever writes endpoints by hand may use both families, whatever the cluster has.
func (t *taking) setSelectorless() {
	spec := &t.svc.Spec
	if spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicyRequireDualStack
		if len(spec.IPFamilies) == 1 {
			policy = corev1.IPFamilyPolicySingleStack
		}
		spec.IPFamilyPolicy = &policy
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{t.families[0].name}
	}
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 {
		spec.IPFamilies = append(spec.IPFamilies, other(spec.IPFamilies[0]))
	}
}

// familiesFromAddresses fills families that the given addresses imply.
func (t *taking) familiesFromAddresses() {
	spec := &t.svc.Spec
	for i, s := range spec.ClusterIPs {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		if i >= len(spec.IPFamilies) {
			spec.IPFamilies = append(spec.IPFamilies, familyOf(ip))
		}
	}
}

// takeClusterIPs allocates one address for each family, the given one where there is one.
func (t *taking) takeClusterIPs() error {
	spec := &t.svc.Spec
	if !needsClusterIP(t.svc) || headless(t.svc) || spec.ClusterIP == "" && len(spec.ClusterIPs) > 0 {
		return nil // the last is for validation to explain
	}
	var had []netip.Addr
	if t.old != nil {
		had = addressesOf(t.old)
	}
	ips := slices.Clone(spec.ClusterIPs)
	for i, name := range spec.IPFamilies {
		f := t.family(name)
		if f == nil || len(spec.ClusterIPs) > len(spec.IPFamilies) {
			return nil // validation explains
		}
		if i < len(ips) && ips[i] != "" {
			ip, err := netip.ParseAddr(ips[i])
			if err != nil || familyOf(ip) != name {
				return nil
			}
			if slices.Contains(had, ip) {
				continue
			}
			if err := t.takeAddress(f, ip); err != nil {
				return t.invalid(field.Invalid(field.NewPath("spec", "clusterIPs"), spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %v: %v", ip, err)))
			}
			continue
		}
		ip, err := t.takeAnyAddress(f)
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: %v", err))
		}
		if i < len(ips) {
			ips[i] = ip.String()
		} else {
			ips = append(ips, ip.String())
		}
	}
	spec.ClusterIPs = ips
	if len(ips) > 0 {
		spec.ClusterIP = ips[0]
	}
	return nil
}
