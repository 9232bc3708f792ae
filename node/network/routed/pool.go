package routed

import (
	"fmt"
	"net/netip"

	"clipper/node/network"
)

// A pool is the addresses of a node's pod CIDR. The first is the network, the second the gateway, the last
// the broadcast address that a pod might believe in. It is not safe for concurrent use.
type pool struct {
	prefix      netip.Prefix
	first, last netip.Addr
	next        netip.Addr // where the search goes on: an address rests as long as possible before its next pod
	used        map[netip.Addr]string
}

func newPool(prefix netip.Prefix) *pool {
	first := network.Gateway(prefix).Next()
	return &pool{prefix: prefix, first: first, last: lastAddr(prefix).Prev(), next: first, used: map[netip.Addr]string{}}
}

// take gives id a free address.
func (p *pool) take(id string) (netip.Addr, error) {
	size := 1<<(32-p.prefix.Bits()) - 3
	for range size {
		a := p.next
		p.next = a.Next()
		if a == p.last {
			p.next = p.first
		}
		if _, taken := p.used[a]; !taken {
			p.used[a] = id
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address in pod CIDR %s: all %d are in use", p.prefix, size)
}

// claim gives id the address a, as found in its record. It says no if a is another's or outside the range.
func (p *pool) claim(a netip.Addr, id string) bool {
	if !p.prefix.Contains(a) || a.Less(p.first) || p.last.Less(a) {
		return false
	}
	if owner, taken := p.used[a]; taken && owner != id {
		return false
	}
	p.used[a] = id
	if !a.Less(p.next) && a != p.last {
		p.next = a.Next()
	}
	return true
}

func (p *pool) free(a netip.Addr) { delete(p.used, a) }

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}
