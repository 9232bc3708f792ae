package routed

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"clipper/node/network"
	"clipper/node/network/netns"
)

// podDevice is the pod's end of the veth pair.
const podDevice = "eth0"

// gatewayMAC is the node's end of every veth pair: one address serves all, they share no segment.
var gatewayMAC = net.HardwareAddr{0x0a, 0x63, 0x6c, 0x69, 0x70, 0x01}

// macOf derives a locally administered address from an IP, so that no one has to ask for it.
func macOf(ip netip.Addr) net.HardwareAddr {
	b := ip.As4()
	return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}
}

func host(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// prepareNode sets up what all pods share.
func (n *Network) prepareNode() error {
	n.gateway = network.Gateway(n.cfg.PodCIDR)
	uplink, err := n.uplink()
	if err != nil {
		return err
	}
	if n.cfg.MTU == 0 {
		n.cfg.MTU = uplink.Attrs().MTU - vxlanOverhead
	}
	if err := n.prepareLoopback(); err != nil {
		return err
	}
	if err := n.inNode(func() error { return nodeSysctls(uplink.Attrs().Name) }); err != nil {
		return err
	}
	return n.prepareOverlay(uplink)
}

// uplink finds the device that has the node's address.
func (n *Network) uplink() (netlink.Link, error) {
	addrs, err := n.links.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, _ := netip.AddrFromSlice(a.IP.To4()); ip == n.cfg.NodeIP {
			return n.links.LinkByIndex(a.LinkIndex)
		}
	}
	return nil, fmt.Errorf("node IP %s is on no device of this node; set --node-ip to an address it has", n.cfg.NodeIP)
}

// prepareLoopback gives the node its gateway address. It is on lo because the kernel takes the source of
// what leaves by a device without an address (the veths) from there first: masquerading is predictable.
func (n *Network) prepareLoopback() error {
	lo, err := n.links.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback device: %w", err)
	}
	if err := n.links.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	if err := n.links.AddrReplace(lo, &netlink.Addr{IPNet: host(n.gateway)}); err != nil {
		return fmt.Errorf("add gateway address %s to lo: %w", n.gateway, err)
	}
	return nil
}

// prepareOverlay makes the VXLAN device. One of the same name that differs (another node IP, say) is replaced.
func (n *Network) prepareOverlay(uplink netlink.Link) error {
	want := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: n.cfg.Device, MTU: n.cfg.MTU, HardwareAddr: macOf(n.cfg.NodeIP), TxQLen: -1},
		VxlanId:   1, Port: n.cfg.VXLANPort, SrcAddr: n.cfg.NodeIP.AsSlice(), VtepDevIndex: uplink.Attrs().Index,
	}
	link, err := n.links.LinkByName(n.cfg.Device)
	if err == nil && !sameOverlay(link, want) {
		if err := n.links.LinkDel(link); err != nil {
			return fmt.Errorf("replace device %s: %w", n.cfg.Device, err)
		}
		link = nil
	}
	if link == nil || err != nil {
		if err := n.links.LinkAdd(want); err != nil {
			return fmt.Errorf("make VXLAN device %s: %w", n.cfg.Device, err)
		}
		link = want
	}
	if err := n.inNode(func() error { return deviceSysctls(n.cfg.Device, looseRP) }); err != nil {
		return err
	}
	if err := n.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", n.cfg.Device, err)
	}
	// The gateway address once more: from a device without any the kernel takes no packet whose way back is
	// another device, not even with loose filtering, and another node's own packets are such.
	if err := n.links.AddrReplace(link, &netlink.Addr{IPNet: host(n.gateway)}); err != nil {
		return fmt.Errorf("add gateway address %s to %s: %w", n.gateway, n.cfg.Device, err)
	}
	if !n.cfg.ServiceCIDR.IsValid() {
		return nil
	}
	// A route for service addresses, so that a node without a default route gets as far as the rule that
	// rewrites them. Nothing is ever sent there: what no rule rewrites is refused.
	err = n.links.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(n.cfg.ServiceCIDR),
		Src: n.gateway.AsSlice(), Scope: netlink.SCOPE_LINK})
	if err != nil {
		return fmt.Errorf("route service CIDR %s: %w", n.cfg.ServiceCIDR, err)
	}
	return nil
}

func sameOverlay(l netlink.Link, want *netlink.Vxlan) bool {
	v, ok := l.(*netlink.Vxlan)
	return ok && v.VxlanId == want.VxlanId && v.Port == want.Port && v.SrcAddr.Equal(want.SrcAddr) &&
		v.VtepDevIndex == want.VtepDevIndex && v.MTU == want.MTU && v.HardwareAddr.String() == want.HardwareAddr.String()
}

// connect makes the namespace and both ends of the pod's veth pair. A half-made pair of an interrupted
// attempt is removed first; no process can be using it, for Attach has not returned yet.
func (n *Network) connect(id string, r record) error {
	path := n.nsPath(id)
	if err := netns.Create(path); err != nil {
		return err
	}
	if err := n.removeVeth(id); err != nil {
		return err
	}
	veth, err := n.addVeth(id, path, r.IP)
	if err != nil {
		return err
	}
	if err := n.inNode(func() error { return deviceSysctls(veth.Attrs().Name, strictRP) }); err != nil {
		return err
	}
	if err := n.links.LinkSetUp(veth); err != nil {
		return fmt.Errorf("set %s up: %w", veth.Attrs().Name, err)
	}
	if err := netns.Do(path, func() error { return n.preparePod(r.IP) }); err != nil {
		return err
	}
	index := veth.Attrs().Index
	if err := n.links.NeighSet(permanent(index, r.IP, macOf(r.IP))); err != nil {
		return fmt.Errorf("add pod neighbour: %w", err)
	}
	route := &netlink.Route{LinkIndex: index, Dst: host(r.IP), Src: n.gateway.AsSlice(), Scope: netlink.SCOPE_LINK}
	if err := n.links.RouteReplace(route); err != nil {
		return fmt.Errorf("add pod route: %w", err)
	}
	return nil
}

func (n *Network) addVeth(id, nsPath string, ip netip.Addr) (netlink.Link, error) {
	ns, err := os.Open(nsPath)
	if err != nil {
		return nil, fmt.Errorf("open pod namespace: %w", err)
	}
	defer ns.Close()
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: n.vethName(id), MTU: n.cfg.MTU, HardwareAddr: gatewayMAC,
			TxQLen: -1, NumTxQueues: 1, NumRxQueues: 1}, // one queue: the default is one per CPU of the machine
		PeerName: podDevice, PeerHardwareAddr: macOf(ip), PeerNamespace: netlink.NsFd(int(ns.Fd())),
	}
	if err := n.links.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("make veth pair %s: %w", veth.Name, err)
	}
	link, err := n.links.LinkByName(veth.Name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", veth.Name, err)
	}
	return link, nil
}

// preparePod runs in the pod's namespace.
func (n *Network) preparePod(ip netip.Addr) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in pod: %w", err)
	}
	defer h.Close()
	if err := podSysctls(); err != nil {
		return err
	}
	eth, err := h.LinkByName(podDevice)
	if err != nil {
		return fmt.Errorf("find %s in pod: %w", podDevice, err)
	}
	const loopback = 1 // the index of lo, always
	index := eth.Attrs().Index
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"set lo up", func() error {
			return h.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: loopback}})
		}},
		{"add address", func() error { return h.AddrReplace(eth, &netlink.Addr{IPNet: host(ip)}) }},
		{"set up", func() error { return h.LinkSetUp(eth) }},
		{"add gateway neighbour", func() error { return h.NeighSet(permanent(index, n.gateway, gatewayMAC)) }},
		{"add default route", func() error {
			return h.RouteReplace(&netlink.Route{LinkIndex: index, Gw: n.gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)})
		}},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("pod %s: %s: %w", podDevice, step.what, err)
		}
	}
	return nil
}

func permanent(index int, ip netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: ip.AsSlice(), HardwareAddr: mac}
}

// disconnect takes the pod off the network: without its route it neither gets packets nor, for the reverse-path
// filter, may send any. The devices go with the namespace, which the kernel takes down after the last process
// in it, many at once and in its own time; deleting each here would take 30 ms under a lock that attaching
// needs. A namespace that somebody holds on to keeps its device until sweep.
func (n *Network) disconnect(id string, ip netip.Addr) error {
	link, err := n.links.LinkByName(n.vethName(id))
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
	case err != nil:
		return fmt.Errorf("find veth %s: %w", n.vethName(id), err)
	case !ip.IsValid(): // no record: nobody knows what leads to it
		if err := n.removeVeth(id); err != nil {
			return err
		}
	default:
		err := n.links.RouteDel(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: host(ip), Scope: netlink.SCOPE_LINK})
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove pod route: %w", err)
		}
	}
	return netns.Remove(n.nsPath(id))
}

// sweep deletes the veths that no record names: those of namespaces that somebody holds on to.
func (n *Network) sweep() error {
	links, err := n.links.LinkList()
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	wanted := map[string]bool{} // read after the list: a record is older than its device
	for _, r := range n.records() {
		wanted[n.vethName(r.ID)] = true
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		if l.Type() != "veth" || !strings.HasPrefix(name, n.cfg.Device) || wanted[name] {
			continue
		}
		if err := n.links.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("remove veth %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (n *Network) removeVeth(id string) error {
	link, err := n.links.LinkByName(n.vethName(id))
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = n.links.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove veth %s: %w", n.vethName(id), err)
	}
	return nil
}

func (n *Network) linkExists(name string) bool {
	_, err := n.links.LinkByName(name)
	return err == nil
}

// inNode runs fn in the node's namespace.
func (n *Network) inNode(fn func() error) error { return netns.Do(n.cfg.NetNS, fn) }

// Reverse-path filtering: strict on veths, where a pod may send with its own address only; loose towards
// other nodes, whose pods reach this node's address directly and are answered through the overlay.
const (
	strictRP = "1"
	looseRP  = "2"
)

func nodeSysctls(uplink string) error {
	return writeSysctls([][2]string{
		{"ipv4/ip_forward", "1"},
		{"ipv4/conf/all/send_redirects", "0"}, // off only where both this and the device's are
		{"ipv4/conf/" + uplink + "/rp_filter", looseRP},
	})
}

func deviceSysctls(device, rpFilter string) error {
	return writeSysctls([][2]string{
		{"ipv4/conf/" + device + "/rp_filter", rpFilter},
		{"ipv4/conf/" + device + "/send_redirects", "0"},
		// For 127.0.0.1:hostPort from the node. What this would let in from pods a rule keeps out (firewall.go).
		{"ipv4/conf/" + device + "/route_localnet", "1"},
		{"ipv6/conf/" + device + "/disable_ipv6", "1"}, // no IPv6 here: saves duplicate detection and router requests
	})
}

// podSysctls are the defaults that container runtimes give pods: no privilege needed for low ports and ping.
func podSysctls() error {
	return writeSysctls([][2]string{
		{"ipv4/ip_unprivileged_port_start", "0"},
		{"ipv4/ping_group_range", "0 2147483647"},
		{"ipv6/conf/" + podDevice + "/disable_ipv6", "1"},
	})
}

func writeSysctls(values [][2]string) error {
	for _, v := range values {
		err := os.WriteFile(filepath.Join("/proc/sys/net", v[0]), []byte(v[1]), 0)
		if errors.Is(err, os.ErrNotExist) && v[0][:5] == "ipv6/" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return fmt.Errorf("set sysctl net/%s=%s: %w", v[0], v[1], err)
		}
	}
	return nil
}
