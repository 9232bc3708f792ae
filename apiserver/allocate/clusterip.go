package allocate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
)

var (
	errAllocated = errors.New("provided IP is already allocated")
	errOutside   = errors.New("the provided network does not match the current range")
	errFull      = errors.New("range is full")
)

// ShortestIPv6 is the length of the shortest IPv6 prefix that addresses come from, as upstream.
const ShortestIPv6 = 64

// addressBands is the range's usable size, without its first address and for IPv4 its last, split as
// upstream splits it: min(max(16, size/16), 256) for those asked for.
func addressBands(p netip.Prefix) span {
	size := uint64(1)<<min(p.Addr().BitLen()-p.Bits(), 63) - 1 // without the network itself
	if p.Addr().Is4() && size > 0 {
		size-- // broadcast
	}
	return bands(size, 16, 256)
}

// A block is a range of addresses.
type block struct {
	prefix netip.Prefix
	span   span
}

func newBlock(p netip.Prefix) block {
	p = p.Masked()
	return block{prefix: p, span: addressBands(p)}
}

// at returns the address at an offset, counted from the one after the network's own.
func (b block) at(offset uint64) netip.Addr {
	raw := b.prefix.Addr().As16()
	low := binary.BigEndian.Uint64(raw[8:])
	binary.BigEndian.PutUint64(raw[8:], low+offset+1)
	return netip.AddrFrom16(raw).Unmap().WithZone("")
}

func (b block) contains(ip netip.Addr) bool { return Holds(b.prefix, ip) }

// Holds says whether ip is one of the addresses of a range that services get: its network's own is not, nor the
// broadcast address of IPv4.
func Holds(p netip.Prefix, ip netip.Addr) bool {
	if !p.Contains(ip) || ip == p.Masked().Addr() {
		return false
	}
	return ip.Is6() || p.Contains(ip.Next())
}

// ready says that addresses may come from a ServiceCIDR. One that nobody has judged yet is.
func ready(c *networkingv1.ServiceCIDR) bool {
	condition := meta.FindStatusCondition(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	return c.DeletionTimestamp == nil && (condition == nil || condition.Status == metav1.ConditionTrue)
}

// blocks are the ranges that addresses of f come from now, the one of the server first. That one is there before any
// object is, and goes as the others do: when all objects that name it are on their way out, or not ready.
func (a *Allocator) blocks(f *family) []block {
	var out []block
	named, open := false, false
	for _, c := range a.ranges.List("") {
		for _, text := range c.Spec.CIDRs {
			p, err := netip.ParsePrefix(text)
			if err != nil || familyOf(p.Addr()) != f.name || p.Addr().Is6() && p.Bits() < ShortestIPv6 {
				continue
			}
			switch own := p.Masked() == f.first.prefix; {
			case own:
				named, open = true, open || ready(c)
			case ready(c):
				out = append(out, newBlock(p))
			}
		}
	}
	if !named || open {
		out = slices.Insert(out, 0, f.first)
	}
	return out
}

// ManagedBy is the value of networkingv1.LabelManagedBy on the IPAddresses of services.
const ManagedBy = "ipallocator.k8s.io"

// keptForOthers says that an IPAddress reserves ip for something that is not the holder. Those that stand for
// the services themselves may lag behind: of these the pool knows better.
func (t *taking) keptForOthers(ip netip.Addr) bool {
	kept, ok := t.kept.Get("", ip.String())
	if !ok || kept.Labels[networkingv1.LabelManagedBy] == ManagedBy {
		return false
	}
	ref := kept.Spec.ParentRef
	return ref == nil || ref.Group != "" || ref.Resource != api.Services.Resource.Name ||
		ref.Namespace != t.holder.Namespace || ref.Name != t.holder.Name
}

func (t *taking) takeAddress(f *family, ip netip.Addr) error {
	if t.dryRun {
		return t.dryAddress(f, ip)
	}
	blocks := t.blocks(f)
	i := slices.IndexFunc(blocks, func(b block) bool { return b.contains(ip) })
	if i < 0 {
		return counted(ipsGiven, ipsRefused, errOutside, f.first.prefix.String(), static)
	}
	return counted(ipsGiven, ipsRefused, t.takeInside(f, ip), blocks[i].prefix.String(), static)
}

func (t *taking) takeInside(f *family, ip netip.Addr) error {
	if t.keptForOthers(ip) || !f.pool.take(t.holder, ip) {
		return errAllocated
	}
	ok, err := t.claim(claimOf(ip), func(svc *corev1.Service) bool { return slices.Contains(addressesOf(svc), ip) })
	if err == nil && !ok {
		err = errAllocated
	}
	if err != nil {
		f.pool.giveBack(ip)
		return err
	}
	t.giveBack = append(t.giveBack, func() { f.pool.giveBack(ip) })
	return nil
}

func (t *taking) takeAnyAddress(f *family) (netip.Addr, error) {
	if t.dryRun {
		return t.dryAnyAddress(f)
	}
	for _, b := range t.blocks(f) {
		for offset := range b.span.offsets {
			ip := b.at(offset)
			if err := t.takeInside(f, ip); !errors.Is(err, errAllocated) {
				return ip, counted(ipsGiven, ipsRefused, err, b.prefix.String(), dynamic)
			}
		}
	}
	return netip.Addr{}, counted(ipsGiven, ipsRefused, errFull, f.first.prefix.String(), dynamic)
}

// family returns what there is of an IP family, or nil.
func (a *Allocator) family(name corev1.IPFamily) *family {
	for i := range a.families {
		if a.families[i].name == name {
			return &a.families[i]
		}
	}
	return nil
}

// takeClusterIPs allocates one address for each family, the given one where there is one.
func (t *taking) takeClusterIPs() error {
	spec := &t.svc.Spec
	has := t.old != nil && needsClusterIP(t.old)
	switch {
	case !needsClusterIP(t.svc), has && !t.upgraded(), !has && headless(t.svc):
		return nil
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		return nil // validation explains
	}
	var had []string // what a service has stays: validation explains to those who would change it
	if has {
		had = t.old.Spec.ClusterIPs
	}
	ips := slices.Clone(spec.ClusterIPs)
	for i, name := range spec.IPFamilies {
		f := t.family(name)
		if f == nil || len(spec.ClusterIPs) > len(spec.IPFamilies) {
			return nil // validation explains
		}
		named := i < len(ips) && ips[i] != ""
		if named && i < len(had) {
			continue
		}
		if named {
			ip, err := netip.ParseAddr(ips[i])
			if err != nil || familyOf(ip) != name {
				return nil
			}
			if err := t.takeAddress(f, ip); err != nil {
				return t.invalid(field.Invalid(ipsPath, t.asked(), fmt.Sprintf("failed to allocate IP %v: %v", ip, err)))
			}
			continue
		}
		ip, err := t.takeAnyAddress(f)
		if err != nil {
			return t.noAddress(err)
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

// upgraded says that an update gives a second family to a service that has an address. It gets one for it although the
// update would take the first away: that validation refuses, and names what there would have been.
func (t *taking) upgraded() bool {
	return t.old != nil && needsClusterIP(t.old) && !headless(t.old) && len(t.old.Spec.IPFamilies) == 1 && len(t.svc.Spec.IPFamilies) == 2
}

// noAddress says why a service gets no address: there are none left, or else, as upstream, that it is the service's fault.
func (t *taking) noAddress(err error) error {
	if errors.Is(err, errFull) {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", t.svc.Name, err))
	}
	return t.invalid(field.Invalid(ipsPath, t.asked(), fmt.Sprintf("failed to allocate IP: %v", err)))
}

// asked are the addresses that the client named, and "" for each that it wants, whichever it is.
func (t *taking) asked() []string {
	asked := slices.Clone(t.svc.Spec.ClusterIPs)
	for len(asked) < len(t.svc.Spec.IPFamilies) {
		asked = append(asked, "")
	}
	return asked
}
