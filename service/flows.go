package service

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A udpFlow says where datagrams to a service port may go. The kernel keeps sending the datagrams of a flow
// it knows where the first one went, so flows to an endpoint that is gone must be forgotten by hand; TCP
// clients notice and connect anew.
type udpFlow struct {
	service   string       // namespace/name/protocol/port
	frontends []netip.Addr // cluster IP and external addresses
	port      uint16
	nodePort  uint16
	endpoints []netip.AddrPort
}

func (p *port) flow() udpFlow {
	f := udpFlow{service: p.path, frontends: p.external(), port: uint16(p.spec.Port), nodePort: uint16(p.spec.NodePort)}
	if ip, ok := p.clusterIP(); ok {
		f.frontends = append(f.frontends, ip)
	}
	f.endpoints = append(slices.Clone(p.cluster), p.local...)
	return f
}

func (f udpFlow) equal(o udpFlow) bool {
	return f.service == o.service && f.port == o.port && f.nodePort == o.nodePort &&
		slices.Equal(f.frontends, o.frontends) && slices.Equal(f.endpoints, o.endpoints)
}

// stale lists the service ports whose tracked flows may lead elsewhere than they should: those of now that
// are new or differ, and those of was that are no more (their endpoints count as gone).
func stale(was, now []udpFlow) []udpFlow {
	var out []udpFlow
	for _, f := range now {
		if !slices.ContainsFunc(was, f.equal) {
			out = append(out, f)
		}
	}
	for _, f := range was {
		if !slices.ContainsFunc(now, func(o udpFlow) bool { return o.service == f.service }) {
			f.endpoints = nil
			out = append(out, f)
		}
	}
	return out
}

// A staleFlows matches tracked UDP flows that were meant for a service port and went to none of its endpoints.
type staleFlows []udpFlow

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s staleFlows) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	if c.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to, _ := netip.AddrFromSlice(c.Forward.DstIP)
	answering, _ := netip.AddrFromSlice(c.Reverse.SrcIP)
	to = to.Unmap()
	endpoint := netip.AddrPortFrom(answering.Unmap(), c.Reverse.SrcPort)
	return slices.ContainsFunc(s, func(f udpFlow) bool {
		meant := c.Forward.DstPort == f.port && slices.Contains(f.frontends, to) ||
			f.nodePort != 0 && c.Forward.DstPort == f.nodePort
		return meant && !slices.Contains(f.endpoints, endpoint)
	})
}

// forgetFlows deletes stale flows from connection tracking, in one pass over it.
func forgetFlows(h *netlink.Handle, s staleFlows) error {
	if len(s) == 0 {
		return nil
	}
	if _, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, s); err != nil {
		return fmt.Errorf("delete tracked UDP flows of %d service ports: %w", len(s), err)
	}
	return nil
}
