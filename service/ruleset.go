package service

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The sets and maps of the table whose elements come and go with services.
const (
	setServiceIPs   = "service-ips"       // address . protocol . port → chain
	setNodePorts    = "service-nodeports" // protocol . port → chain
	setRefusedIPs   = "refused-ips"       // address . protocol . port → reject or drop: no endpoint
	setRefusedPorts = "refused-nodeports" // protocol . port → reject or drop
	setFirewallIPs  = "firewall-ips"      // address . protocol . port → chain: loadBalancerSourceRanges
	setClusterIPs   = "cluster-ips"       // addresses
	setHairpin      = "hairpin"           // address . the same address, of pods of this node
)

// Verdicts of elements, besides "goto CHAIN".
const (
	verdictReject = "goto reject"
	verdictDrop   = "drop"
)

// An Element is one element of a set or map, without its value. Fields the set has no use for are zero.
type Element struct {
	Set      string
	Addr     netip.Addr
	Protocol string
	Port     uint16
}

// An Action is what a rule does with the packets it matches.
type Action int

// The actions.
const (
	Mark     Action = iota + 1 // to be masqueraded
	Goto                       // continue in Chain
	Drop                       //
	Balance                    // rewrite the destination to one of To, at random
	Scatter                    // continue in one of Chains, at random
	Remember                   // put the client into Set for Timeout, then rewrite the destination to To[0]
	Allow                      // leave the chain
)

// A Rule is one rule of a service's chain: matches, all of which must hold, then an action.
type Rule struct {
	From      netip.Prefix // sources in it
	NotFrom   bool         // sources outside of From instead
	FromLocal bool         // sources that are addresses of this node
	FromSet   string       // clients that the affinity set holds
	Do        Action
	Chain     string
	Chains    []string
	To        []netip.AddrPort
	Set       string
	Timeout   time.Duration
}

// A Ruleset is all that depends on services, as plain values. Two equal Rulesets treat every packet alike.
type Ruleset struct {
	Elements map[Element]string // → verdict; "" in a set without values
	Chains   map[string][]Rule
	Affinity map[string]time.Duration // sets of clients → time they are remembered
}

func newRuleset() Ruleset {
	return Ruleset{Elements: map[Element]string{}, Chains: map[string][]Rule{}, Affinity: map[string]time.Duration{}}
}

// String renders the rule set much as nft would list it, in a fixed order.
func (r Ruleset) String() string {
	var b strings.Builder
	var lines []string
	for e, v := range r.Elements {
		lines = append(lines, strings.TrimSpace(e.String()+" "+v))
	}
	slices.Sort(lines)
	for _, l := range lines {
		fmt.Fprintln(&b, l)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Affinity)) {
		fmt.Fprintf(&b, "set %s timeout %s\n", name, r.Affinity[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Chains)) {
		fmt.Fprintf(&b, "chain %s\n", name)
		for _, rule := range r.Chains[name] {
			fmt.Fprintf(&b, "\t%s\n", rule)
		}
	}
	return b.String()
}

func (e Element) String() string {
	s := e.Set + ":"
	if e.Addr.IsValid() {
		s += " " + e.Addr.String()
	}
	if e.Protocol != "" {
		s += fmt.Sprintf(" %s %d", strings.ToLower(e.Protocol), e.Port)
	}
	return s
}

func (r Rule) String() string {
	var parts []string
	if r.From.IsValid() {
		parts = append(parts, map[bool]string{false: "from ", true: "not from "}[r.NotFrom]+r.From.String())
	}
	if r.FromLocal {
		parts = append(parts, "from this node")
	}
	if r.FromSet != "" {
		parts = append(parts, "from @"+r.FromSet)
	}
	switch r.Do {
	case Mark:
		parts = append(parts, "mark for masquerade")
	case Goto:
		parts = append(parts, "goto "+r.Chain)
	case Drop:
		parts = append(parts, "drop")
	case Allow:
		parts = append(parts, "allow")
	case Balance:
		parts = append(parts, "dnat "+join(r.To))
	case Scatter:
		parts = append(parts, "goto one of "+strings.Join(r.Chains, " | "))
	case Remember:
		parts = append(parts, fmt.Sprintf("remember in @%s for %s, dnat %s", r.Set, r.Timeout, join(r.To)))
	}
	return strings.Join(parts, ", ")
}

func join(to []netip.AddrPort) string {
	var out []string
	for _, t := range to {
		out = append(out, t.String())
	}
	return strings.Join(out, " | ")
}

// A change is what leads from one rule set to the next.
type change struct {
	addElements, dropElements []Element // a new value of an element is a drop and an add
	addChains, dropChains     []string
	fillChains                []string // new or with other rules
	addSets, dropSets         []string
}

func (c change) empty() bool {
	return len(c.addElements)+len(c.dropElements)+len(c.dropChains)+len(c.fillChains)+len(c.addSets)+len(c.dropSets) == 0
}

// diff says what must change to get from was to now, in a fixed order.
func diff(was, now Ruleset) change {
	var c change
	for e, v := range now.Elements {
		if old, had := was.Elements[e]; !had || old != v {
			c.addElements = append(c.addElements, e)
		}
	}
	for e, v := range was.Elements {
		if kept, has := now.Elements[e]; !has || kept != v {
			c.dropElements = append(c.dropElements, e)
		}
	}
	for name, rules := range now.Chains {
		old, had := was.Chains[name]
		if !had {
			c.addChains = append(c.addChains, name)
		}
		if !had || !slices.EqualFunc(old, rules, Rule.equal) {
			c.fillChains = append(c.fillChains, name)
		}
	}
	c.dropChains = missing(was.Chains, now.Chains)
	for name, timeout := range now.Affinity {
		if old, had := was.Affinity[name]; !had || old != timeout {
			c.addSets = append(c.addSets, name)
		}
	}
	c.dropSets = missing(was.Affinity, now.Affinity)
	for _, l := range [][]string{c.addChains, c.dropChains, c.fillChains, c.addSets, c.dropSets} {
		slices.Sort(l)
	}
	return c
}

func missing[V any](was, now map[string]V) []string {
	var out []string
	for name := range was {
		if _, kept := now[name]; !kept {
			out = append(out, name)
		}
	}
	return out
}

func (r Rule) equal(o Rule) bool {
	return r.From == o.From && r.NotFrom == o.NotFrom && r.FromLocal == o.FromLocal && r.FromSet == o.FromSet &&
		r.Do == o.Do && r.Chain == o.Chain && r.Set == o.Set && r.Timeout == o.Timeout &&
		slices.Equal(r.Chains, o.Chains) && slices.Equal(r.To, o.To)
}
