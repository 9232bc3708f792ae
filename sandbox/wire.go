package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"clipper/node/network/netns"
)

// Names of the namespaces that are not nodes.
const (
	switchNS = "switch"
	clientNS = "client"
)

// preflight says early and in one line what is missing.
func preflight() error {
	if os.Geteuid() != 0 {
		return errors.New("making network namespaces needs root; run this command with sudo")
	}
	return nil
}

// buildNetwork makes the switch and wires the nodes and the client to it. What is there stays.
func (s Sandbox) buildNetwork(nodes int) error {
	if err := netns.Create(s.netns(switchNS)); err != nil {
		return fmt.Errorf("%w; the kernel needs CONFIG_NET_NS", err)
	}
	if err := netns.Do(s.netns(switchNS), makeBridge); err != nil {
		return fmt.Errorf("make the switch: %w; the kernel needs the module bridge", err)
	}
	for i := 1; i <= nodes; i++ {
		if err := s.plug(nodeName(i), i, nodeIP(i), netip.Addr{}); err != nil {
			return fmt.Errorf("wire %s: %w; the kernel needs the module veth", nodeName(i), err)
		}
	}
	// The client goes through the first node, which knows the way to every service and pod.
	if err := s.plug(clientNS, 0, clientIP, nodeIP(1)); err != nil {
		return fmt.Errorf("wire the client: %w", err)
	}
	return nil
}

const bridgeName = "switch"

func makeBridge() error {
	if _, err := netlink.LinkByName(bridgeName); err == nil {
		return nil
	}
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}); err != nil {
		return err
	}
	return setUp(bridgeName)
}

// plug makes a namespace with a wire to the switch: eth0 there, portN here.
func (s Sandbox) plug(name string, number int, ip, gateway netip.Addr) error {
	if err := netns.Create(s.netns(name)); err != nil {
		return err
	}
	ns, err := os.Open(s.netns(name))
	if err != nil {
		return err
	}
	defer ns.Close()
	port := fmt.Sprintf("port%d", number)
	err = netns.Do(s.netns(switchNS), func() error {
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return err
		}
		err = netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: bridge.Attrs().Index},
			PeerName:  "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd()))})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		return setUp(port)
	})
	if err != nil {
		return err
	}
	return netns.Do(s.netns(name), func() error { return address(ip, gateway) })
}

func address(ip, gateway netip.Addr) error {
	eth, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(wireBits, 32)}}
	if err := errors.Join(netlink.AddrReplace(eth, addr), setUp("lo"), setUp("eth0")); err != nil || !gateway.IsValid() {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway.AsSlice()})
}

func setUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}
