// Package netlab is for tests: network namespaces that stand for nodes on a common wire, and connections
// made from inside them. Nothing of it touches the namespace the test runs in.
package netlab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"clipper/node/network/netns"
)

// A Lab is a wire (a bridge in a namespace of its own) with nodes on it.
type Lab struct {
	t     testing.TB
	dir   string
	nodes int
}

// Wire is the prefix of the nodes' own addresses: node i has the i-th.
var Wire = netip.MustParsePrefix("192.168.77.0/24")

// PodCIDR returns the i-th of the pod CIDRs that tests use.
func PodCIDR(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24)
}

// New makes an empty wire, or skips the test where namespaces cannot be made.
func New(t testing.TB) *Lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	l := &Lab{t: t, dir: t.TempDir()}
	l.namespace("wire")
	l.must(netns.Do(l.path("wire"), func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "wire"}}); err != nil {
			return err
		}
		return up("wire")
	}))
	return l
}

// A Node is a namespace on the wire.
type Node struct {
	lab   *Lab
	NetNS string
	IP    netip.Addr
}

// Node adds a node: eth0 with an address of Wire, no default route.
func (l *Lab) Node() *Node {
	l.t.Helper()
	l.nodes++
	ip := Wire.Addr()
	for range l.nodes {
		ip = ip.Next()
	}
	name, port := fmt.Sprintf("node%d", l.nodes), fmt.Sprintf("port%d", l.nodes)
	n := &Node{lab: l, NetNS: l.path(name), IP: ip}
	l.namespace(name)
	peer, err := os.Open(n.NetNS)
	l.must(err)
	defer peer.Close()
	l.must(netns.Do(l.path("wire"), func() error {
		br, err := netlink.LinkByName("wire")
		if err != nil {
			return err
		}
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: br.Attrs().Index},
			PeerName: "eth0", PeerNamespace: netlink.NsFd(int(peer.Fd()))}
		return errors.Join(netlink.LinkAdd(veth), up(port))
	}))
	l.must(netns.Do(n.NetNS, func() error {
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(Wire.Bits(), 32)}}
		return errors.Join(netlink.AddrAdd(eth, addr), up("lo"), up("eth0"))
	}))
	return n
}

func (l *Lab) namespace(name string) {
	l.t.Helper()
	l.must(netns.Create(l.path(name)))
	l.t.Cleanup(func() {
		if err := netns.Remove(l.path(name)); err != nil {
			l.t.Error(err)
		}
	})
}

func (l *Lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *Lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// Serve answers every TCP connection or UDP datagram at addr in a namespace with "name client-address\n",
// until the test ends or stop is called.
func Serve(t testing.TB, ns, network, addr, name string) (stop func()) {
	t.Helper()
	var closer io.Closer
	var wg sync.WaitGroup
	err := netns.Do(ns, func() error {
		if network == "udp" {
			pc, err := net.ListenPacket("udp4", addr)
			closer = pc
			if err == nil {
				wg.Go(func() { serveUDP(pc, name) })
			}
			return err
		}
		l, err := net.Listen("tcp4", addr)
		closer = l
		if err == nil {
			wg.Go(func() { serveTCP(l, name) })
		}
		return err
	})
	if err != nil {
		t.Fatalf("serve %s %s in %s: %v", network, addr, ns, err)
	}
	stop = sync.OnceFunc(func() { closer.Close(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

func serveTCP(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr())
		c.Close()
	}
}

func serveUDP(pc net.PacketConn, name string) {
	buf := make([]byte, 64)
	for {
		_, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = pc.WriteTo([]byte(fmt.Sprintf("%s %s\n", name, from)), from)
	}
}

// Ask connects from inside a namespace and returns the name that answered and the address it saw.
func Ask(ns, network, addr string) (name string, source netip.Addr, err error) {
	var conn net.Conn
	err = netns.Do(ns, func() (err error) {
		conn, err = net.DialTimeout(network+"4", addr, 2*time.Second)
		return err
	})
	if err != nil {
		return "", source, err
	}
	defer conn.Close()
	return Exchange(conn)
}

// Exchange asks over a connection that is there already.
func Exchange(conn net.Conn) (name string, source netip.Addr, err error) {
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, udp := conn.(*net.UDPConn); udp {
		if _, err := conn.Write([]byte("?")); err != nil {
			return "", source, err
		}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", source, err
	}
	var from string
	if _, err := fmt.Sscan(line, &name, &from); err != nil {
		return "", source, fmt.Errorf("answer %q: %w", line, err)
	}
	ap, err := netip.ParseAddrPort(from)
	return name, ap.Addr(), err
}
