// Package nftexpr spells the few nftables expressions that Clipper's rule sets are made of, so that a
// rule reads as what it says. It decides nothing and talks to nobody.
//
// Keys made of several fields lie in consecutive 32-bit registers from R0, each field in its own; the
// bytes of a set element are laid out the same way (Key).
package nftexpr

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The 32-bit registers used by keys and values.
const (
	R0 uint32 = unix.NFT_REG32_00
	R1        = R0 + 1
	R2        = R0 + 2
	R3        = R0 + 3
)

// Set types in use.
var (
	AddrProtoPort = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)
	ProtoPort     = nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
	AddrPort      = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	AddrAddr      = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr)
)

var setIDs atomic.Uint32

// NextSetID returns a number for a set within a transaction. google/nftables would give one itself, but
// counts without a lock, and two tables may be written at once.
func NextSetID() uint32 { return setIDs.Add(1) }

// Rule concatenates parts of a rule.
func Rule(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// SourceAddr loads the source address.
func SourceAddr(reg uint32) []expr.Any { return network(reg, 12, 4) }

// DestAddr loads the destination address.
func DestAddr(reg uint32) []expr.Any { return network(reg, 16, 4) }

func network(reg, offset, length uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}}
}

// Protocol loads the transport protocol's number.
func Protocol(reg uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}}
}

// DestPort loads the transport destination port.
func DestPort(reg uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
}

// Equal compares a register with bytes.
func Equal(reg uint32, data []byte) []expr.Any {
	return []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data}}
}

// FromPrefix matches packets whose source is in p; with not, those whose source is outside.
func FromPrefix(p netip.Prefix, not bool) []expr.Any {
	return Rule(SourceAddr(R0), inPrefix(p, not))
}

// ToPrefix matches packets whose destination is in p; with not, those whose destination is outside.
func ToPrefix(p netip.Prefix, not bool) []expr.Any {
	return Rule(DestAddr(R0), inPrefix(p, not))
}

func inPrefix(p netip.Prefix, not bool) []expr.Any {
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
	base := p.Masked().Addr().As4()
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	return []expr.Any{
		&expr.Bitwise{SourceRegister: R0, DestRegister: R0, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: R0, Data: base[:]},
	}
}

// InSet matches when the key that load leaves from R0 on is in the set; with not, when it is not.
func InSet(load []expr.Any, s *nftables.Set, not bool) []expr.Any {
	return Rule(load, []expr.Any{&expr.Lookup{SourceRegister: R0, SetName: s.Name, SetID: s.ID, Invert: not}})
}

// Map looks up the key that load leaves from R0 on and stores the value from dest on.
func Map(load []expr.Any, s *nftables.Set, dest uint32) []expr.Any {
	return Rule(load, []expr.Any{&expr.Lookup{SourceRegister: R0, SetName: s.Name, SetID: s.ID, DestRegister: dest, IsDestRegSet: true}})
}

// VerdictMap does what the map says for the key that load leaves from R0 on; without an entry the next
// rule has its turn.
func VerdictMap(load []expr.Any, s *nftables.Set) []expr.Any {
	return Map(load, s, unix.NFT_REG_VERDICT)
}

// InInterface matches the name of the device a packet came in by; a trailing * matches any rest.
func InInterface(name string) []expr.Any { return ifname(expr.MetaKeyIIFNAME, name, expr.CmpOpEq) }

// OutInterface matches the name of the device a packet leaves by.
func OutInterface(name string) []expr.Any { return ifname(expr.MetaKeyOIFNAME, name, expr.CmpOpEq) }

// NotOutInterface matches every other device than name.
func NotOutInterface(name string) []expr.Any { return ifname(expr.MetaKeyOIFNAME, name, expr.CmpOpNeq) }

func ifname(key expr.MetaKey, name string, op expr.CmpOp) []expr.Any {
	data := []byte(name)
	if n := len(name); n > 0 && name[n-1] == '*' {
		data = data[:n-1]
	} else {
		data = append(data, make([]byte, unix.IFNAMSIZ-n)...)
	}
	return []expr.Any{&expr.Meta{Key: key, Register: unix.NFT_REG_1}, &expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: data}}
}

// ToLocal matches packets to an address of this node.
func ToLocal() []expr.Any {
	return Rule([]expr.Any{&expr.Fib{Register: R0, FlagDADDR: true, ResultADDRTYPE: true}}, Equal(R0, addrTypeLocal))
}

// FromLocal matches packets from an address of this node.
func FromLocal() []expr.Any {
	return Rule([]expr.Any{&expr.Fib{Register: R0, FlagSADDR: true, ResultADDRTYPE: true}}, Equal(R0, addrTypeLocal))
}

var addrTypeLocal = binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)

// Conntrack bits, as linux/netfilter/nf_conntrack_common.h numbers them.
const (
	stateNew   = 1 << 3
	statusDNAT = 1 << 5
)

// Destined matches connections whose destination was rewritten.
func Destined() []expr.Any { return conntrackBit(expr.CtKeySTATUS, statusDNAT) }

// NewConnection matches the first packet of a connection.
func NewConnection() []expr.Any { return conntrackBit(expr.CtKeySTATE, stateNew) }

func conntrackBit(key expr.CtKey, bit uint32) []expr.Any {
	return Rule([]expr.Any{&expr.Ct{Key: key, Register: R0}}, bitSet(bit))
}

func bitSet(bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Bitwise{SourceRegister: R0, DestRegister: R0, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bit), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: R0, Data: make([]byte, 4)},
	}
}

// Marked matches packets that carry the bit in their mark.
func Marked(bit uint32) []expr.Any {
	return Rule([]expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: R0}}, bitSet(bit))
}

// SetMark sets the bit in the packet's mark.
func SetMark(bit uint32) []expr.Any { return changeMark(^bit, bit) }

// ClearMark clears the bit in the packet's mark.
func ClearMark(bit uint32) []expr.Any { return changeMark(^bit, 0) }

func changeMark(mask, xor uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: R0},
		&expr.Bitwise{SourceRegister: R0, DestRegister: R0, Len: 4,
			Mask: binary.NativeEndian.AppendUint32(nil, mask), Xor: binary.NativeEndian.AppendUint32(nil, xor)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: R0, SourceRegister: true},
	}
}

// Random stores a random number below n in R0.
func Random(n int) []expr.Any {
	return []expr.Any{&expr.Numgen{Register: R0, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM}}
}

// DNAT rewrites the destination to the address in register addr and the port in register port.
func DNAT(addr, port uint32) []expr.Any {
	return []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: addr, RegProtoMin: port}}
}

// Load puts constant bytes into a register.
func Load(reg uint32, data []byte) []expr.Any {
	return []expr.Any{&expr.Immediate{Register: reg, Data: data}}
}

// Masquerade rewrites the source to the address of the outgoing device, with a random port.
func Masquerade() []expr.Any { return []expr.Any{&expr.Masq{FullyRandom: true}} }

// Verdicts.
func Jump(chain string) []expr.Any { return verdict(expr.VerdictJump, chain) }

// Goto continues in chain and does not come back.
func Goto(chain string) []expr.Any { return verdict(expr.VerdictGoto, chain) }

// Drop loses the packet.
func Drop() []expr.Any { return verdict(expr.VerdictDrop, "") }

// Return leaves the chain.
func Return() []expr.Any { return verdict(expr.VerdictReturn, "") }

func verdict(k expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: k, Chain: chain}}
}

// IsTCP matches TCP packets.
func IsTCP() []expr.Any { return Rule(Protocol(R0), Equal(R0, []byte{unix.IPPROTO_TCP})) }

// ResetTCP answers with a TCP reset.
func ResetTCP() []expr.Any { return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }

// Reject answers with ICMP port unreachable.
func Reject() []expr.Any {
	const portUnreachable = 3
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: portUnreachable}}
}

// Key lays the fields of a key (or of a map's value) out as registers hold them: each padded to 32 bits.
func Key(fields ...[]byte) []byte {
	var out []byte
	for _, f := range fields {
		out = append(out, f...)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	return out
}

// Addr, Port and Proto are the fields of keys.
func Addr(a netip.Addr) []byte { b := a.As4(); return b[:] }

// Port is a port in network order.
func Port(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }

// Proto is the number of TCP, UDP or SCTP; 0 for anything else.
func Proto(name string) []byte {
	switch name {
	case "TCP":
		return []byte{unix.IPPROTO_TCP}
	case "UDP":
		return []byte{unix.IPPROTO_UDP}
	case "SCTP":
		return []byte{unix.IPPROTO_SCTP}
	}
	return []byte{0}
}
