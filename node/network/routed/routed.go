// Package routed is the built-in pod network: the node is a router, each pod hangs on it by a veth pair
// of its own, and a VXLAN device leads to the pods of the other nodes.
//
// There is no bridge. A pod has a /32 address and sends everything to the node's gateway address; the
// node has one route per pod. Compared with a bridge:
//   - every packet passes the node's IP layer, so services, hostPorts and policies see traffic between two
//     pods of one node without bridge netfilter, and a pod reaches itself through its own service without
//     hairpin ports;
//   - neighbours are permanent entries on both sides: no ARP, no learning, no forwarding delay, and strict
//     reverse-path filtering keeps a pod from sending with another's address;
//   - attaching takes 2 ms (median of 50, two cores), most of it the kernel making the namespace.
//
// Truth is in the kernel and in one small file per attachment, which holds the address. The file is written
// before anything else and removed after everything else, so whatever a crash leaves is listed by List, and
// Attach or Detach of that id finishes it.
package routed

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"clipper/node/network"
	"clipper/node/network/netns"
	"clipper/node/userns"
)

// Config is what the network of one node needs to know.
type Config struct {
	StateDir    string       // holds netns/ and attachments/; survives the process, not needed after a reboot
	NetNS       string       // path of the node's network namespace; "": the process's own
	NodeName    string       // the node whose entry among the Nodes is this one
	NodeIP      netip.Addr   // the address other nodes reach this one by
	PodCIDR     netip.Prefix // the node's share: spec.podCIDR
	ServiceCIDR netip.Prefix // routed to the overlay device, so that service addresses are reachable from the node
	Device      string       // name of the VXLAN device and prefix of the veths; default "clip0"
	VXLANPort   int          // UDP port; default 8472, the kernel's
	MTU         int          // of pods; default: that of the device with NodeIP, less what VXLAN takes
	Log         *slog.Logger
}

// vxlanOverhead is outer IPv4 (20), UDP (8), VXLAN (8) and inner Ethernet (14) headers.
const vxlanOverhead = 50

// A Network is the pod network of one node. It implements network.Network.
type Network struct {
	cfg     Config
	gateway netip.Addr
	links   *netlink.Handle // in the node's namespace
	nsFD    int             // of the node's namespace, for nftables; 0 when it is the process's own

	busy [64]sync.Mutex // by hash of the id: one operation at a time on an attachment

	mu   sync.Mutex // guards pool and records; nothing blocks under it
	pool *pool
	held map[string]record

	detached chan struct{} // a device may be left to sweep

	fwMu sync.Mutex // one nftables transaction at a time
	fw   *firewall
}

var _ network.Network = (*Network)(nil)

// Open prepares the node (device, gateway address, forwarding, rules) and takes over the attachments that an
// earlier process left. It starts nothing; Run follows the other nodes.
func Open(cfg Config) (*Network, error) {
	n := &Network{cfg: cfg.withDefaults(), detached: make(chan struct{}, 1)}
	if err := n.cfg.validate(); err != nil {
		return nil, err
	}
	if err := n.openHandles(); err != nil {
		return nil, fmt.Errorf("pod network: %w", err)
	}
	for _, step := range []func() error{n.loadRecords, n.prepareNode, n.openFirewall, n.sweep} {
		if err := step(); err != nil {
			n.Close()
			return nil, fmt.Errorf("pod network: %w", err)
		}
	}
	return n, nil
}

// Close releases sockets. Pods stay attached.
func (n *Network) Close() {
	if n.links != nil {
		n.links.Close()
	}
	if n.nsFD > 0 {
		unix.Close(n.nsFD)
	}
}

// Gateway is the node's own address in the pod network: where its DNS listens.
func (n *Network) Gateway() netip.Addr { return n.gateway }

func (c Config) withDefaults() Config {
	if c.Device == "" {
		c.Device = "clip0"
	}
	if c.VXLANPort == 0 {
		c.VXLANPort = 8472
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.PodCIDR = c.PodCIDR.Masked()
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.StateDir == "" {
		errs = append(errs, errors.New("no state directory"))
	}
	if !c.NodeIP.Is4() {
		errs = append(errs, fmt.Errorf("node IP %s: must be an IPv4 address", c.NodeIP))
	}
	if !c.PodCIDR.IsValid() || !c.PodCIDR.Addr().Is4() || c.PodCIDR.Bits() > 29 {
		errs = append(errs, fmt.Errorf("pod CIDR %s: must be an IPv4 prefix of at most 29 bits", c.PodCIDR))
	}
	if c.ServiceCIDR.IsValid() && (!c.ServiceCIDR.Addr().Is4() || c.ServiceCIDR.Overlaps(c.PodCIDR)) {
		errs = append(errs, fmt.Errorf("service CIDR %s: must be IPv4 and apart from pod CIDR %s", c.ServiceCIDR, c.PodCIDR))
	}
	if len(c.Device) > 5 {
		errs = append(errs, fmt.Errorf("device %q: at most 5 characters, pods' devices add 10", c.Device))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("pod network: configuration: %w", err)
	}
	return nil
}

func (n *Network) openHandles() error {
	if n.cfg.NetNS == "" {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
		n.links = h
		return err
	}
	fd, err := unix.Open(n.cfg.NetNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", n.cfg.NetNS, err)
	}
	n.nsFD = fd
	n.links, err = netlink.NewHandleAt(vns.NsHandle(fd), unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	return err
}

// Attach implements network.Network.
func (n *Network) Attach(ctx context.Context, id string, ports []network.PodPort) (network.Attachment, error) {
	if err := validID(id); err != nil {
		return network.Attachment{}, fmt.Errorf("attach sandbox: %w", err)
	}
	defer n.lockID(id)()
	r, err := n.reserve(id, ports)
	if err != nil {
		return network.Attachment{}, fmt.Errorf("attach sandbox %s: %w", id, err)
	}
	att := network.Attachment{NetNS: n.nsPath(id), IPs: []netip.Addr{r.IP}}
	if r.Complete && netns.Exists(att.NetNS) && n.linkExists(n.vethName(id)) {
		return att, nil
	}
	if err := ctx.Err(); err != nil {
		return network.Attachment{}, fmt.Errorf("attach sandbox %s: %w", id, err)
	}
	if err := n.connect(id, r); err != nil {
		return network.Attachment{}, fmt.Errorf("attach sandbox %s with address %s: %w", id, r.IP, err)
	}
	if err := n.openPorts(r); err != nil {
		return network.Attachment{}, fmt.Errorf("attach sandbox %s: host ports: %w", id, err)
	}
	r.Complete = true
	if err := n.saveRecord(r); err != nil {
		return network.Attachment{}, fmt.Errorf("attach sandbox %s: %w", id, err)
	}
	return att, nil
}

// Adopt makes the network namespace at path, which somebody else has made, that of the sandbox id: Attach attaches
// it. It lives until Detach at least.
func (n *Network) Adopt(id, path string) error {
	if err := validID(id); err != nil {
		return fmt.Errorf("attach sandbox: %w", err)
	}
	defer n.lockID(id)()
	if err := netns.Bind(path, n.nsPath(id)); err != nil {
		return fmt.Errorf("attach sandbox %s: %w", id, err)
	}
	return nil
}

// Separate implements network.UserNamespaced.
func (n *Network) Separate(id string, ids userns.IDs) error {
	if err := validID(id); err != nil {
		return fmt.Errorf("attach sandbox: %w", err)
	}
	defer n.lockID(id)()
	path := n.nsPath(id)
	if netns.Exists(path) {
		return nil
	}
	if err := userns.MakeNetwork(path, ids); err != nil {
		return fmt.Errorf("attach sandbox %s: %w", id, err)
	}
	return nil
}

// Detach implements network.Network.
func (n *Network) Detach(_ context.Context, id string) error {
	if err := validID(id); err != nil {
		return fmt.Errorf("detach sandbox: %w", err)
	}
	defer n.lockID(id)()
	r, known := n.lookup(id)
	if known {
		if err := n.closePorts(r); err != nil {
			return fmt.Errorf("detach sandbox %s: host ports: %w", id, err)
		}
	}
	if err := n.disconnect(id, r.IP); err != nil {
		return fmt.Errorf("detach sandbox %s: %w", id, err)
	}
	if err := n.release(id); err != nil {
		return fmt.Errorf("detach sandbox %s: %w", id, err)
	}
	select {
	case n.detached <- struct{}{}:
	default:
	}
	return nil
}

// Lookup returns what Attach has returned for id, if it is attached.
func (n *Network) Lookup(id string) (network.Attachment, bool) {
	r, ok := n.lookup(id)
	if !ok || !r.Complete {
		return network.Attachment{}, false
	}
	return network.Attachment{NetNS: n.nsPath(id), IPs: []netip.Addr{r.IP}}, true
}

// List implements network.Network.
func (n *Network) List(context.Context) ([]string, error) {
	ids := map[string]bool{}
	for _, dir := range []string{n.recordDir(), filepath.Dir(n.nsPath("x"))} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list attachments: %w", err)
		}
		for _, e := range entries {
			if validID(e.Name()) == nil {
				ids[e.Name()] = true
			}
		}
	}
	out := make([]string, 0, len(ids))
	for id := range ids {
		out = append(out, id)
	}
	return out, nil
}

func (n *Network) nsPath(id string) string { return filepath.Join(n.cfg.StateDir, "netns", id) }

// vethName derives the node's end of a pod's veth pair from the id: found again without a record.
func (n *Network) vethName(id string) string {
	h := fnv.New64a()
	h.Write([]byte(id))
	return fmt.Sprintf("%s%010x", n.cfg.Device, h.Sum64()&0xff_ffff_ffff)
}

func (n *Network) lockID(id string) (unlock func()) {
	h := fnv.New32a()
	h.Write([]byte(id))
	m := &n.busy[h.Sum32()%uint32(len(n.busy))]
	m.Lock()
	return m.Unlock
}

// validID keeps an id from being a path.
func validID(id string) error {
	if id == "" || id[0] == '.' || len(id) > 200 || filepath.Base(id) != id {
		return fmt.Errorf("id %q: must be a plain file name", id)
	}
	return nil
}
