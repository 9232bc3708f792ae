package routed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/node/network"
)

// A peer is another node as the overlay sees it. Its VTEP's MAC address follows from its IP.
type peer struct {
	ip    netip.Addr
	cidr  netip.Prefix
	addrs string // all its addresses, comma-separated: pods reach them without masquerading
}

// peerOf reads a node. ok is false while it has no address or pod CIDR.
func peerOf(node *corev1.Node) (p peer, ok bool) {
	for _, a := range node.Status.Addresses {
		ip, err := netip.ParseAddr(a.Address)
		if err != nil || !ip.Is4() {
			continue
		}
		if a.Type == corev1.NodeInternalIP && !p.ip.IsValid() {
			p.ip = ip
		}
		p.addrs += ip.String() + ","
	}
	for _, s := range append([]string{node.Spec.PodCIDR}, node.Spec.PodCIDRs...) {
		if c, err := netip.ParsePrefix(s); err == nil && c.Addr().Is4() {
			p.cidr = c.Masked()
			break
		}
	}
	return p, p.ip.IsValid() && p.cidr.IsValid()
}

// Run keeps the ways to the other nodes as the Nodes say, and sweeps up after Detach, until ctx ends.
func (n *Network) Run(ctx context.Context, client api.Client) error {
	changed := make(chan map[string]peer, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return watchPeers(ctx, client, changed) })
	g.Go(func() error { return n.followPeers(ctx, changed) })
	g.Go(func() error { return n.sweepAfterDetach(ctx) })
	return g.Wait()
}

// sweepAfterDetach sweeps once the kernel has had time for what it does by itself.
func (n *Network) sweepAfterDetach(ctx context.Context) error {
	const grace = 5 * time.Second
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.detached:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(grace):
		}
		if err := n.sweep(); err != nil {
			n.cfg.Log.Warn("devices of pods that are gone are left", "node", n.cfg.NodeName, "err", err)
		}
	}
}

// watchPeers sends the set of all peers whenever it changes; a set nobody took yet is replaced.
func watchPeers(ctx context.Context, client api.Client, changed chan map[string]peer) error {
	peers, synced := map[string]peer{}, false
	return api.Nodes.View(client).Watch(ctx, func(e api.Event) {
		if e.Type == api.Synced {
			synced = true
		} else {
			name := e.Object().GetName()
			was, had := peers[name]
			delete(peers, name)
			now, has := peer{}, false
			if e.New != nil {
				if now, has = peerOf(e.New.(*corev1.Node)); has {
					peers[name] = now
				}
			}
			if had == has && was == now {
				return // a heartbeat
			}
		}
		if !synced {
			return
		}
		select {
		case <-changed:
		default:
		}
		changed <- maps.Clone(peers)
	})
}

func (n *Network) followPeers(ctx context.Context, changed <-chan map[string]peer) error {
	var want map[string]peer
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case want = <-changed:
		case <-retry:
		}
		retry = nil
		if err := n.syncPeers(want); err != nil {
			n.cfg.Log.Error("cannot program the ways to other nodes", "node", n.cfg.NodeName, "err", err)
			retry = time.After(time.Second)
		}
	}
}

// syncPeers makes the kernel's routes, neighbours and forwarding entries of the overlay device those of the
// peers, looking first at what is there: the same after a start as after a change.
func (n *Network) syncPeers(peers map[string]peer) error {
	link, err := n.links.LinkByName(n.cfg.Device)
	if err != nil {
		return fmt.Errorf("find %s: %w", n.cfg.Device, err)
	}
	var others []peer
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		if name != n.cfg.NodeName && peers[name].ip != n.cfg.NodeIP {
			others = append(others, peers[name])
		}
	}
	index := link.Attrs().Index
	return errors.Join(
		n.syncCluster(peers), // first: a pod that is reached is not masqueraded
		n.syncNeighbours(index, unix.AF_BRIDGE, bridgeEntries(index, others)),
		n.syncNeighbours(index, unix.AF_INET, gatewayEntries(index, others)),
		n.syncRoutes(index, others),
	)
}

func bridgeEntries(index int, peers []peer) []netlink.Neigh {
	var out []netlink.Neigh
	for _, p := range peers {
		out = append(out, netlink.Neigh{LinkIndex: index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT,
			Flags: netlink.NTF_SELF, IP: p.ip.AsSlice(), HardwareAddr: macOf(p.ip)})
	}
	return out
}

func gatewayEntries(index int, peers []peer) []netlink.Neigh {
	var out []netlink.Neigh
	for _, p := range peers {
		out = append(out, *permanent(index, network.Gateway(p.cidr), macOf(p.ip)))
	}
	return out
}

func (n *Network) syncNeighbours(index, family int, want []netlink.Neigh) error {
	have, err := n.links.NeighList(index, family)
	if err != nil {
		return fmt.Errorf("list neighbours of %s: %w", n.cfg.Device, err)
	}
	same := func(a netlink.Neigh) func(netlink.Neigh) bool {
		return func(b netlink.Neigh) bool { return a.IP.Equal(b.IP) && bytes.Equal(a.HardwareAddr, b.HardwareAddr) }
	}
	var errs []error
	for _, h := range have {
		if h.State&netlink.NUD_PERMANENT != 0 && h.IP != nil && !slices.ContainsFunc(want, same(h)) {
			h.Family = family
			errs = append(errs, n.links.NeighDel(&h))
		}
	}
	for _, w := range want {
		if !slices.ContainsFunc(have, same(w)) {
			errs = append(errs, n.links.NeighSet(&w))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("set neighbours of %s: %w", n.cfg.Device, err)
	}
	return nil
}

func (n *Network) syncRoutes(index int, peers []peer) error {
	have, err := n.links.RouteListFiltered(unix.AF_INET, &netlink.Route{LinkIndex: index}, netlink.RT_FILTER_OIF)
	if err != nil {
		return fmt.Errorf("list routes of %s: %w", n.cfg.Device, err)
	}
	var errs []error
	for _, p := range peers {
		known := slices.ContainsFunc(have, func(r netlink.Route) bool { return leadsTo(r, p) })
		if !known {
			errs = append(errs, n.links.RouteReplace(&netlink.Route{LinkIndex: index, Dst: ipNet(p.cidr), Src: n.gateway.AsSlice(),
				Gw: network.Gateway(p.cidr).AsSlice(), Flags: int(netlink.FLAG_ONLINK)}))
		}
	}
	for _, r := range have {
		wanted := r.Gw == nil || slices.ContainsFunc(peers, func(p peer) bool { return leadsTo(r, p) })
		if !wanted {
			if err := n.links.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) { // replaced above: gone
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("set routes of %s: %w", n.cfg.Device, err)
	}
	return nil
}

func leadsTo(r netlink.Route, p peer) bool {
	return r.Dst != nil && r.Dst.String() == p.cidr.String() && r.Gw.Equal(net.IP(network.Gateway(p.cidr).AsSlice()))
}

// knownPrefixes are the addresses of the cluster as far as the kernel remembers them from an earlier process:
// until the Nodes have been read, pods must not be masqueraded towards each other.
func (n *Network) knownPrefixes() ([]netip.Prefix, error) {
	out := []netip.Prefix{n.cfg.PodCIDR, netip.PrefixFrom(n.cfg.NodeIP, 32)}
	link, err := n.links.LinkByName(n.cfg.Device)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", n.cfg.Device, err)
	}
	routes, err := n.links.RouteListFiltered(unix.AF_INET, &netlink.Route{LinkIndex: link.Attrs().Index}, netlink.RT_FILTER_OIF)
	if err != nil {
		return nil, fmt.Errorf("list routes of %s: %w", n.cfg.Device, err)
	}
	for _, r := range routes {
		if r.Gw == nil || r.Dst == nil {
			continue
		}
		if p, err := netip.ParsePrefix(r.Dst.String()); err == nil {
			out = append(out, p)
		}
	}
	entries, err := n.links.NeighList(link.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("list forwarding entries of %s: %w", n.cfg.Device, err)
	}
	for _, e := range entries {
		if ip, ok := netip.AddrFromSlice(e.IP); ok && ip.Unmap().Is4() {
			out = append(out, netip.PrefixFrom(ip.Unmap(), 32))
		}
	}
	return out, nil
}

// syncCluster replaces the set of addresses that pods reach with their own address as the source.
func (n *Network) syncCluster(peers map[string]peer) error {
	prefixes := []netip.Prefix{n.cfg.PodCIDR, netip.PrefixFrom(n.cfg.NodeIP, 32)}
	for _, p := range peers {
		prefixes = append(prefixes, p.cidr)
		for a := range bytes.SplitSeq([]byte(p.addrs), []byte(",")) {
			if ip, err := netip.ParseAddr(string(a)); err == nil {
				prefixes = append(prefixes, netip.PrefixFrom(ip, 32))
			}
		}
	}
	err := n.transact(func(f *firewall, c *nftables.Conn) error {
		c.FlushSet(f.cluster)
		return c.SetAddElements(f.cluster, clusterElements(prefixes))
	})
	if err != nil {
		return fmt.Errorf("set cluster addresses: %w", err)
	}
	return nil
}
