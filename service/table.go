package service

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	mdl "github.com/mdlayher/netlink"

	nx "clipper/node/network/nftexpr"
)

// netlinkConn is the socket under an nftables connection.
type netlinkConn = mdl.Conn

// declare queues a new table with everything that does not depend on services.
func (k *kernel) declare(c *nftables.Conn) {
	c.AddTable(k.table) // so that there is one to delete
	c.DelTable(k.table)
	c.AddTable(k.table)
	k.declareSets(c)

	reject := k.chain(c, "reject")
	k.rules(c, reject, nx.IsTCP(), nx.ResetTCP())
	k.rules(c, reject, nx.Reject())

	services := k.chain(c, "services")
	// A client that is no pod of this node would be answered by the endpoint directly, past our rewriting.
	k.rules(c, services, nx.InSet(nx.DestAddr(nx.R0), k.sets[setClusterIPs], false), nx.FromPrefix(k.podCIDR, true), nx.SetMark(masqueradeMark))
	k.rules(c, services, nx.VerdictMap(destination(), k.sets[setServiceIPs]))
	k.rules(c, services, nx.ToLocal(), nx.VerdictMap(portOnly(), k.sets[setNodePorts]))

	refuse := k.chain(c, "refuse")
	k.rules(c, refuse, nx.VerdictMap(destination(), k.sets[setRefusedIPs]))
	k.rules(c, refuse, nx.ToLocal(), nx.VerdictMap(portOnly(), k.sets[setRefusedPorts]))
	k.rules(c, refuse, nx.InSet(nx.DestAddr(nx.R0), k.sets[setClusterIPs], false), nx.Goto(reject.Name)) // not one of its ports
	if k.serviceCIDR.IsValid() {
		// Nobody's address yet. Its service may be on its way, so the client had better try again.
		k.rules(c, refuse, nx.ToPrefix(k.serviceCIDR, false), nx.Drop())
	}

	fw := k.base(c, "firewall", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest-10)
	k.rules(c, fw, nx.NewConnection(), nx.VerdictMap(destination(), k.sets[setFirewallIPs]))
	for name, hook := range map[string]*nftables.ChainHook{"nat-prerouting": nftables.ChainHookPrerouting, "nat-output": nftables.ChainHookOutput} {
		k.rules(c, k.base(c, name, nftables.ChainTypeNAT, hook, *nftables.ChainPriorityNATDest), nx.Jump(services.Name))
	}
	for name, hook := range map[string]*nftables.ChainHook{"input": nftables.ChainHookInput, "forward": nftables.ChainHookForward, "output": nftables.ChainHookOutput} {
		k.rules(c, k.base(c, name, nftables.ChainTypeFilter, hook, *nftables.ChainPriorityFilter), nx.NewConnection(), nx.Jump(refuse.Name))
	}

	post := k.base(c, "nat-postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource)
	pair := nx.Rule(nx.SourceAddr(nx.R0), nx.DestAddr(nx.R1))
	k.rules(c, post, nx.Destined(), nx.InSet(pair, k.sets[setHairpin], false), nx.Masquerade())
	k.rules(c, post, nx.Marked(masqueradeMark), nx.ClearMark(masqueradeMark), nx.Masquerade())
}

func (k *kernel) declareSets(c *nftables.Conn) {
	k.sets = map[string]*nftables.Set{}
	for _, s := range []*nftables.Set{
		{Name: setServiceIPs, KeyType: nx.AddrProtoPort, DataType: nftables.TypeVerdict, IsMap: true},
		{Name: setNodePorts, KeyType: nx.ProtoPort, DataType: nftables.TypeVerdict, IsMap: true},
		{Name: setRefusedIPs, KeyType: nx.AddrProtoPort, DataType: nftables.TypeVerdict, IsMap: true},
		{Name: setRefusedPorts, KeyType: nx.ProtoPort, DataType: nftables.TypeVerdict, IsMap: true},
		{Name: setFirewallIPs, KeyType: nx.AddrProtoPort, DataType: nftables.TypeVerdict, IsMap: true},
		{Name: setClusterIPs, KeyType: nftables.TypeIPAddr},
		{Name: setHairpin, KeyType: nx.AddrAddr},
	} {
		s.Table, s.ID = k.table, nx.NextSetID()
		k.sets[s.Name] = s
		_ = c.AddSet(s, nil) // fails only on elements
	}
}

func destination() []expr.Any {
	return nx.Rule(nx.DestAddr(nx.R0), nx.Protocol(nx.R1), nx.DestPort(nx.R2))
}

func portOnly() []expr.Any { return nx.Rule(nx.Protocol(nx.R0), nx.DestPort(nx.R1)) }

func (k *kernel) chain(c *nftables.Conn, name string) *nftables.Chain {
	return c.AddChain(&nftables.Chain{Table: k.table, Name: name})
}

func (k *kernel) base(c *nftables.Conn, name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
	return c.AddChain(&nftables.Chain{Table: k.table, Name: name, Type: kind, Hooknum: hook, Priority: &priority})
}

func (k *kernel) rules(c *nftables.Conn, ch *nftables.Chain, parts ...[]expr.Any) {
	c.AddRule(&nftables.Rule{Table: k.table, Chain: ch, Exprs: nx.Rule(parts...)})
}
