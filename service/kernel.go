package service

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	nx "clipper/node/network/nftexpr"
)

// tableName is the nftables table of services.
const tableName = "clipper-services"

// masqueradeMark is the bit of the packet mark that asks for masquerading, the one kube-proxy uses.
const masqueradeMark = 0x4000

// A kernel is the nftables table of one network namespace. It is not safe for concurrent use.
type kernel struct {
	nsFD        int // 0: the process's own namespace
	podCIDR     netip.Prefix
	serviceCIDR netip.Prefix
	table       *nftables.Table
	sets        map[string]*nftables.Set
	known       bool // the table holds what was applied last
}

func newKernel(nsFD int, podCIDR, serviceCIDR netip.Prefix) *kernel {
	return &kernel{nsFD: nsFD, podCIDR: podCIDR, serviceCIDR: serviceCIDR,
		table: &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}}
}

// apply makes the table hold all, in one transaction. before and after are what differs from the last time;
// at the start and after a failure, when it is not certain what is there, everything is written anew.
// Packets meet the old rules or the new, never less.
func (k *kernel) apply(all, before, after Ruleset) error {
	conn, err := k.dial()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	var clients map[string][]nftables.SetElement
	if !k.known {
		clients = k.clients(conn, all)
		k.declare(conn)
		before, after = newRuleset(), all
	}
	c := diff(before, after)
	if k.known && c.empty() {
		return nil
	}
	k.known = false // until it is certain
	if err := k.write(conn, before, after, c); err != nil {
		return fmt.Errorf("compose rules: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(clients)) {
		if err := conn.SetAddElements(k.clientSet(name, all.Affinity[name]), clients[name]); err != nil {
			return fmt.Errorf("compose rules: %w", err)
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write rules of table %s: %w", tableName, err)
	}
	k.known = true
	return nil
}

// clients returns which clients the table that is there remembers, so that session affinity outlives this
// process. What cannot be read is forgotten: a client then gets another endpoint, no more.
func (k *kernel) clients(conn *nftables.Conn, want Ruleset) map[string][]nftables.SetElement {
	out := map[string][]nftables.SetElement{}
	if len(want.Affinity) == 0 {
		return out
	}
	sets, err := conn.GetSets(k.table)
	if err != nil {
		return out // no table yet
	}
	for _, s := range sets {
		if _, wanted := want.Affinity[s.Name]; !wanted {
			continue
		}
		elements, err := conn.GetSetElements(s)
		if err != nil {
			continue
		}
		for _, e := range elements {
			out[s.Name] = append(out[s.Name], nftables.SetElement{Key: e.Key, Timeout: max(e.Expires, time.Second)})
		}
	}
	return out
}

// socketBuffer holds the acknowledgements of a transaction with some ten thousand services.
const socketBuffer = 64 << 20

func (k *kernel) dial() (*nftables.Conn, error) {
	opts := []nftables.ConnOption{nftables.WithSockOptions(func(c *netlinkConn) error {
		return errors.Join(c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer))
	})}
	if k.nsFD > 0 {
		opts = append(opts, nftables.WithNetNSFd(k.nsFD))
	}
	return nftables.New(opts...)
}

// write queues the change. References must exist when they are made and be gone before what they refer to:
// chains and sets first, their deletion last.
func (k *kernel) write(conn *nftables.Conn, have, want Ruleset, c change) error {
	for _, name := range c.addSets {
		if _, changed := have.Affinity[name]; changed {
			continue // another timeout: it comes with the rules that fill the set
		}
		if err := conn.AddSet(k.clientSet(name, want.Affinity[name]), nil); err != nil {
			return err
		}
	}
	for _, name := range c.addChains {
		conn.AddChain(&nftables.Chain{Table: k.table, Name: name})
	}
	for _, name := range c.fillChains {
		chain := &nftables.Chain{Table: k.table, Name: name}
		if _, had := have.Chains[name]; had {
			conn.FlushChain(chain)
		}
		for _, r := range want.Chains[name] {
			exprs, err := k.rule(conn, r)
			if err != nil {
				return err
			}
			conn.AddRule(&nftables.Rule{Table: k.table, Chain: chain, Exprs: exprs})
		}
	}
	for _, name := range c.dropChains {
		conn.FlushChain(&nftables.Chain{Table: k.table, Name: name})
	}
	if err := k.elements(conn.SetDeleteElements, c.dropElements, have.Elements); err != nil {
		return err
	}
	if err := k.elements(conn.SetAddElements, c.addElements, want.Elements); err != nil {
		return err
	}
	for _, name := range c.dropChains {
		conn.DelChain(&nftables.Chain{Table: k.table, Name: name})
	}
	for _, name := range c.dropSets {
		conn.DelSet(k.clientSet(name, have.Affinity[name]))
	}
	return nil
}

func (k *kernel) clientSet(name string, timeout time.Duration) *nftables.Set {
	return &nftables.Set{Table: k.table, ID: nx.NextSetID(), Name: name, KeyType: nftables.TypeIPAddr, Dynamic: true, HasTimeout: true, Timeout: timeout, Size: 65536}
}

// elements adds or deletes elements, those of one set in as few messages as fit.
func (k *kernel) elements(do func(*nftables.Set, []nftables.SetElement) error, list []Element, values map[Element]string) error {
	const perMessage = 500 // a netlink attribute holds 64 KiB
	bySet := map[string][]nftables.SetElement{}
	for _, e := range list {
		bySet[e.Set] = append(bySet[e.Set], nftables.SetElement{Key: e.key(), VerdictData: verdict(values[e])})
	}
	for _, name := range slices.Sorted(maps.Keys(bySet)) {
		for chunk := range slices.Chunk(bySet[name], perMessage) {
			if err := do(k.sets[name], chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e Element) key() []byte {
	switch e.Set {
	case setClusterIPs:
		return nx.Key(nx.Addr(e.Addr))
	case setHairpin:
		return nx.Key(nx.Addr(e.Addr), nx.Addr(e.Addr))
	case setNodePorts, setRefusedPorts:
		return nx.Key(nx.Proto(e.Protocol), nx.Port(e.Port))
	}
	return nx.Key(nx.Addr(e.Addr), nx.Proto(e.Protocol), nx.Port(e.Port))
}

func verdict(s string) *expr.Verdict {
	if chain, ok := strings.CutPrefix(s, "goto "); ok {
		return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}
	}
	if s == verdictDrop {
		return &expr.Verdict{Kind: expr.VerdictDrop}
	}
	return nil
}

// rule spells a rule. Anonymous maps that it needs are queued before it.
func (k *kernel) rule(conn *nftables.Conn, r Rule) ([]expr.Any, error) {
	var match []expr.Any
	if r.From.IsValid() {
		match = append(match, nx.FromPrefix(r.From, r.NotFrom)...)
	}
	if r.FromLocal {
		match = append(match, nx.FromLocal()...)
	}
	if r.FromSet != "" {
		match = append(match, nx.InSet(nx.SourceAddr(nx.R0), k.clientSet(r.FromSet, 0), false)...)
	}
	do, err := k.action(conn, r)
	return nx.Rule(match, do), err
}

func (k *kernel) action(conn *nftables.Conn, r Rule) ([]expr.Any, error) {
	switch r.Do {
	case Mark:
		return nx.SetMark(masqueradeMark), nil
	case Goto:
		return nx.Goto(r.Chain), nil
	case Drop:
		return nx.Drop(), nil
	case Allow:
		return nx.Return(), nil
	case Balance:
		return k.balance(conn, r.To)
	case Scatter:
		return k.scatter(conn, r.Chains)
	case Remember:
		remember := &expr.Dynset{SrcRegKey: nx.R0, SetName: r.Set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: r.Timeout}
		return nx.Rule(nx.SourceAddr(nx.R0), []expr.Any{remember}, constantDNAT(r.To[0])), nil
	}
	return nil, fmt.Errorf("rule %+v: unknown action", r)
}

func constantDNAT(to netip.AddrPort) []expr.Any {
	return nx.Rule(nx.Load(nx.R0, nx.Addr(to.Addr())), nx.Load(nx.R1, nx.Port(to.Port())), nx.DNAT(nx.R0, nx.R1))
}

func (k *kernel) balance(conn *nftables.Conn, to []netip.AddrPort) ([]expr.Any, error) {
	if len(to) == 1 {
		return constantDNAT(to[0]), nil
	}
	elements := make([]nftables.SetElement, len(to))
	for i, t := range to {
		elements[i] = nftables.SetElement{Key: nativeIndex(i), Val: nx.Key(nx.Addr(t.Addr()), nx.Port(t.Port()))}
	}
	s, err := k.anonymousMap(conn, nx.AddrPort, elements)
	return nx.Rule(nx.Map(nx.Random(len(to)), s, nx.R0), nx.DNAT(nx.R0, nx.R1)), err
}

func (k *kernel) scatter(conn *nftables.Conn, chains []string) ([]expr.Any, error) {
	if len(chains) == 1 {
		return nx.Goto(chains[0]), nil
	}
	elements := make([]nftables.SetElement, len(chains))
	for i, c := range chains {
		elements[i] = nftables.SetElement{Key: nativeIndex(i), VerdictData: verdict("goto " + c)}
	}
	s, err := k.anonymousMap(conn, nftables.TypeVerdict, elements)
	return nx.VerdictMap(nx.Random(len(chains)), s), err
}

func nativeIndex(i int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(i)) }

// anonymousMap queues a map from a number to a value that lives and dies with one rule.
func (k *kernel) anonymousMap(conn *nftables.Conn, value nftables.SetDatatype, elements []nftables.SetElement) (*nftables.Set, error) {
	const perMessage = 500
	s := &nftables.Set{Table: k.table, ID: nx.NextSetID(), Name: "__map%d", // the kernel numbers it
		Anonymous: true, Constant: true, IsMap: true, KeyType: nftables.TypeInteger, DataType: value, Size: uint32(len(elements))}
	if err := conn.AddSet(s, elements[:min(perMessage, len(elements))]); err != nil {
		return nil, err
	}
	// More go into messages of their own. The library refuses that for an anonymous set, rightly once a rule
	// has it, but none has yet.
	unbound := *s
	unbound.Anonymous = false
	for chunk := range slices.Chunk(elements[min(perMessage, len(elements)):], perMessage) {
		if err := conn.SetAddElements(&unbound, chunk); err != nil {
			return nil, err
		}
	}
	return s, nil
}
