package service

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// randomPart makes parts that get in each other's way: few addresses, shared hairpin entries.
func randomPart(r *rand.Rand, key string) compiled {
	c := compiled{rules: newRuleset()}
	for range r.IntN(4) {
		e := Element{Set: setServiceIPs, Addr: netip.AddrFrom4([4]byte{1, 1, 1, byte(r.IntN(4))}), Protocol: "TCP", Port: 80}
		c.rules.Elements[e] = fmt.Sprintf("goto %s/%d", key, r.IntN(2))
		c.rules.Elements[Element{Set: setHairpin, Addr: netip.AddrFrom4([4]byte{2, 2, 2, byte(r.IntN(3))})}] = ""
		c.rules.Chains[fmt.Sprintf("svc/%s/%d", key, r.IntN(3))] = []Rule{{Do: Goto, Chain: fmt.Sprint(r.IntN(3))}}
		c.rules.Affinity[fmt.Sprintf("client/%s/%d", key, r.IntN(2))] = time.Duration(r.IntN(2)+1) * time.Second
	}
	return c
}

// The obvious twin: everything added up from scratch.
func sum(parts map[string]compiled) Ruleset {
	all := newRuleset()
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		all.add(parts[key].rules)
	}
	return all
}

func TestMergedAgainstSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := newMerged()
	kernel := newRuleset() // what a kernel would hold that is told the changes only
	for step := range 3000 {
		for range r.IntN(3) + 1 {
			key := fmt.Sprint("s", r.IntN(5))
			m.set(key, randomPart(r, key), r.IntN(4) > 0)
		}
		want := sum(m.parts)
		if m.all.String() != want.String() {
			t.Fatalf("step %d: got\n%s\nwant\n%s", step, m.all, want)
		}
		before, after := m.take()
		play(t, kernel, after, diff(before, after))
		if kernel.String() != want.String() {
			t.Fatalf("step %d: the changes lead to\n%s\nwant\n%s", step, kernel, want)
		}
	}
}

// play does to have what write does to the kernel, as strict about what must exist.
func play(t *testing.T, have, want Ruleset, c change) {
	t.Helper()
	for _, e := range c.dropElements {
		if _, ok := have.Elements[e]; !ok {
			t.Fatalf("drops %s, which is not there", e)
		}
		delete(have.Elements, e)
	}
	for _, e := range c.addElements {
		if _, ok := have.Elements[e]; ok {
			t.Fatalf("adds %s, which is there", e)
		}
		have.Elements[e] = want.Elements[e]
	}
	for _, name := range c.addChains {
		if _, ok := have.Chains[name]; ok {
			t.Fatalf("adds chain %s, which is there", name)
		}
	}
	for _, name := range c.fillChains {
		have.Chains[name] = want.Chains[name]
	}
	for _, name := range c.dropChains {
		delete(have.Chains, name)
	}
	for _, name := range c.addSets {
		have.Affinity[name] = want.Affinity[name]
	}
	for _, name := range c.dropSets {
		delete(have.Affinity, name)
	}
}

func BenchmarkOneOfManyServices(b *testing.B) {
	m := newMerged()
	for i := range 10000 {
		m.set(fmt.Sprint("s", i), benchPart(i, 0), true)
	}
	m.take()
	for i := 0; b.Loop(); i++ {
		m.set("s7", benchPart(7, i+1), true)
		before, after := m.take()
		if diff(before, after).empty() {
			b.Fatal("no change")
		}
	}
}

func benchPart(i, version int) compiled {
	c := compiled{rules: newRuleset()}
	name := fmt.Sprint("svc/", i)
	ip := netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(i % 250)})
	c.rules.Elements[Element{Set: setServiceIPs, Addr: ip, Protocol: "TCP", Port: 80}] = "goto " + name
	c.rules.Elements[Element{Set: setClusterIPs, Addr: ip}] = ""
	c.rules.Chains[name] = []Rule{{Do: Balance, To: []netip.AddrPort{netip.AddrPortFrom(ip, uint16(version+1))}}}
	return c
}
