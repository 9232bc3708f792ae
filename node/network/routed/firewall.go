package routed

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"clipper/node/network"
	nx "clipper/node/network/nftexpr"
)

// tableName is the nftables table of the pod network.
const tableName = "clipper-network"

// A firewall is the table and the sets in it that change.
type firewall struct {
	table     *nftables.Table
	cluster   *nftables.Set // addresses of the cluster: not masqueraded
	anyPorts  *nftables.Set // protocol . port → address . port, for every address of the node
	addrPorts *nftables.Set // address . protocol . port → address . port
	hairpin   *nftables.Set // address . the same address, of pods with host ports
}

// openFirewall writes the table anew, in one transaction, with the ports of the pods that are attached.
func (n *Network) openFirewall() error {
	n.fwMu.Lock()
	defer n.fwMu.Unlock()
	conn, err := n.nft()
	if err != nil {
		return err
	}
	n.fw = n.declare(conn)
	var errs []error
	claimed := map[string]bool{}
	for _, r := range n.records() {
		for _, e := range n.fw.portElements(r) {
			if key := e.set.Name + string(e.el.Key); !claimed[key] {
				claimed[key] = true
				errs = append(errs, conn.SetAddElements(e.set, []nftables.SetElement{e.el}))
			}
		}
	}
	known, err := n.knownPrefixes()
	errs = append(errs, err, conn.SetAddElements(n.fw.cluster, clusterElements(known)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("compose rules: %w", err)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write rules of table %s: %w", tableName, err)
	}
	return nil
}

func (n *Network) nft() (*nftables.Conn, error) {
	var opts []nftables.ConnOption
	if n.nsFD > 0 {
		opts = append(opts, nftables.WithNetNSFd(n.nsFD))
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return conn, nil
}

func (n *Network) records() []record {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []record
	for _, r := range n.held {
		out = append(out, r)
	}
	return out
}

// declare queues the table, its sets, chains and rules.
func (n *Network) declare(c *nftables.Conn) *firewall {
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	c.AddTable(t)
	f := &firewall{table: t,
		cluster:   &nftables.Set{Table: t, Name: "cluster", KeyType: nftables.TypeIPAddr, Interval: true},
		anyPorts:  &nftables.Set{Table: t, Name: "host-ports", KeyType: nx.ProtoPort, DataType: nx.AddrPort, IsMap: true},
		addrPorts: &nftables.Set{Table: t, Name: "host-ip-ports", KeyType: nx.AddrProtoPort, DataType: nx.AddrPort, IsMap: true},
		hairpin:   &nftables.Set{Table: t, Name: "hairpin", KeyType: nx.AddrAddr},
	}
	for _, s := range []*nftables.Set{f.cluster, f.anyPorts, f.addrPorts, f.hairpin} {
		s.ID = nx.NextSetID()
		_ = c.AddSet(s, nil) // fails only on elements
	}
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	pods := n.cfg.Device + "*"

	guard := f.chain(c, "guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	f.rule(c, guard, nx.InInterface(pods), nx.ToPrefix(loopback, false), nx.Drop())

	// Host ports come before service node ports, which may not use the same number anyway.
	ports := c.AddChain(&nftables.Chain{Table: t, Name: "ports"})
	f.rule(c, ports, nx.Map(nx.Rule(nx.DestAddr(nx.R0), nx.Protocol(nx.R1), nx.DestPort(nx.R2)), f.addrPorts, nx.R0), nx.DNAT(nx.R0, nx.R1))
	f.rule(c, ports, nx.Map(nx.Rule(nx.Protocol(nx.R0), nx.DestPort(nx.R1)), f.anyPorts, nx.R0), nx.DNAT(nx.R0, nx.R1))
	priority := nftables.ChainPriorityRef(*nftables.ChainPriorityNATDest - 1)
	for name, hook := range map[string]*nftables.ChainHook{"prerouting": nftables.ChainHookPrerouting, "output": nftables.ChainHookOutput} {
		ch := f.chain(c, name, nftables.ChainTypeNAT, hook, priority)
		f.rule(c, ch, nx.ToLocal(), nx.Jump(ports.Name))
	}

	post := f.chain(c, "postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	f.rule(c, post, nx.Destined(), nx.InSet(nx.Rule(nx.SourceAddr(nx.R0), nx.DestAddr(nx.R1)), f.hairpin, false), nx.Masquerade())
	f.rule(c, post, nx.OutInterface(pods), nx.FromPrefix(loopback, false), nx.Masquerade())
	f.rule(c, post, nx.FromPrefix(n.cfg.PodCIDR, false), nx.InSet(nx.DestAddr(nx.R0), f.cluster, true), nx.NotOutInterface("lo"), nx.Masquerade())
	return f
}

func (f *firewall) chain(c *nftables.Conn, name string, kind nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
	return c.AddChain(&nftables.Chain{Table: f.table, Name: name, Type: kind, Hooknum: hook, Priority: prio})
}

func (f *firewall) rule(c *nftables.Conn, ch *nftables.Chain, parts ...[]expr.Any) {
	c.AddRule(&nftables.Rule{Table: f.table, Chain: ch, Exprs: nx.Rule(parts...)})
}

// A portElement is an element that some pod's ports need in a set.
type portElement struct {
	set *nftables.Set
	el  nftables.SetElement
}

// portElements returns what r's ports need, each element once.
func (f *firewall) portElements(r record) []portElement {
	var out []portElement
	for _, p := range r.Ports {
		to := nx.Key(nx.Addr(r.IP), nx.Port(p.ContainerPort))
		if p.HostIP.IsValid() && !p.HostIP.IsUnspecified() {
			key := nx.Key(nx.Addr(p.HostIP), nx.Proto(p.Protocol), nx.Port(p.HostPort))
			out = append(out, portElement{f.addrPorts, nftables.SetElement{Key: key, Val: to}})
		} else {
			key := nx.Key(nx.Proto(p.Protocol), nx.Port(p.HostPort))
			out = append(out, portElement{f.anyPorts, nftables.SetElement{Key: key, Val: to}})
		}
	}
	if len(out) > 0 {
		out = append(out, portElement{f.hairpin, nftables.SetElement{Key: nx.Key(nx.Addr(r.IP), nx.Addr(r.IP))}})
	}
	return out
}

// openPorts adds r's ports. One that another pod has, which can only be on its way out, changes hands.
func (n *Network) openPorts(r record) error {
	for _, e := range n.fw.portElements(r) {
		add := func(c *nftables.Conn) error { return c.SetAddElements(e.set, []nftables.SetElement{e.el}) }
		err := n.transact(func(_ *firewall, c *nftables.Conn) error { return add(c) })
		if errors.Is(err, unix.EEXIST) {
			err = n.transact(func(_ *firewall, c *nftables.Conn) error {
				return errors.Join(c.SetDeleteElements(e.set, []nftables.SetElement{{Key: e.el.Key}}), add(c))
			})
		}
		if err != nil {
			return err
		}
	}
	return n.forgetFlows(r)
}

// closePorts deletes r's ports, unless another pod has taken them over, and the flows that went through them.
func (n *Network) closePorts(r record) error {
	taken := map[string]bool{}
	for _, other := range n.records() {
		if other.ID != r.ID {
			for _, e := range n.fw.portElements(other) {
				taken[e.set.Name+string(e.el.Key)] = true
			}
		}
	}
	for _, e := range n.fw.portElements(r) { // one by one: after a crash some may be gone already
		if taken[e.set.Name+string(e.el.Key)] {
			continue
		}
		err := n.transact(func(_ *firewall, c *nftables.Conn) error {
			return c.SetDeleteElements(e.set, []nftables.SetElement{{Key: e.el.Key}})
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return n.forgetFlows(r)
}

func (n *Network) transact(fn func(*firewall, *nftables.Conn) error) error {
	n.fwMu.Lock()
	defer n.fwMu.Unlock()
	conn, err := n.nft()
	if err != nil {
		return err
	}
	if err := fn(n.fw, conn); err != nil {
		return err
	}
	return conn.Flush()
}

// forgetFlows deletes the UDP flows of r's host ports from connection tracking: they never end by
// themselves while the client goes on, and would keep going where they went.
func (n *Network) forgetFlows(r record) error {
	isUDP := func(p network.PodPort) bool { return p.Protocol == "UDP" }
	if !slices.ContainsFunc(r.Ports, isUDP) {
		return nil
	}
	_, err := n.links.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, portFlows(r.Ports))
	if err != nil {
		return fmt.Errorf("delete tracked flows: %w", err)
	}
	return nil
}

type portFlows []network.PodPort

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (ports portFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return flow.Forward.Protocol == unix.IPPROTO_UDP && slices.ContainsFunc(ports, func(p network.PodPort) bool {
		return p.Protocol == "UDP" && p.HostPort == flow.Forward.DstPort
	})
}

// clusterElements spells prefixes as the set of intervals the kernel wants: overlaps removed, each interval
// its start and the address after its end.
func clusterElements(prefixes []netip.Prefix) []nftables.SetElement {
	sorted := slices.Clone(prefixes)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits() // the wider first, so that it swallows the others
	})
	var out []nftables.SetElement
	var covered netip.Addr
	for _, p := range sorted {
		if covered.IsValid() && !covered.Less(p.Addr()) {
			continue
		}
		covered = lastAddr(p)
		out = append(out, nftables.SetElement{Key: nx.Addr(p.Masked().Addr())})
		if next := covered.Next(); next.Is4() {
			out = append(out, nftables.SetElement{Key: nx.Addr(next), IntervalEnd: true})
		}
	}
	return out
}
