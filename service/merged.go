package service

import (
	"maps"
	"slices"
)

// A merged is the rule set of all services, kept current one service at a time: the cost of a change is that
// of the service that changed, however many others there are. It also says what a transaction has to touch.
//
// An element may be claimed by several services: two pods' services share the hairpin entry of the pod, and
// nothing keeps two services from the same external IP. The claim of the first service by name counts.
type merged struct {
	parts  map[string]compiled // by namespace/name
	all    Ruleset
	claims map[Element]int // how many parts have it, where more than one

	before  Ruleset // of what was touched since take, as it was
	touched Ruleset // names of what was touched; values have no meaning
}

func newMerged() *merged {
	return &merged{parts: map[string]compiled{}, all: newRuleset(), claims: map[Element]int{}, before: newRuleset(), touched: newRuleset()}
}

// set replaces the part of one service; keep is false for a service that is gone.
func (m *merged) set(key string, now compiled, keep bool) {
	was := m.parts[key].rules
	if keep {
		m.parts[key] = now
	} else {
		delete(m.parts, key)
		now = compiled{}
	}
	for e := range was.Elements {
		if _, stays := now.rules.Elements[e]; !stays {
			m.drop(e)
		}
	}
	for e, v := range now.rules.Elements {
		old, had := was.Elements[e]
		if !had || old != v {
			m.claim(e, v, !had)
		}
	}
	for name := range was.Chains {
		if _, stays := now.rules.Chains[name]; !stays {
			m.touchChain(name)
			delete(m.all.Chains, name)
		}
	}
	for name, rules := range now.rules.Chains {
		m.touchChain(name)
		m.all.Chains[name] = rules
	}
	for name := range was.Affinity {
		if _, stays := now.rules.Affinity[name]; !stays {
			m.touchSet(name)
			delete(m.all.Affinity, name)
		}
	}
	for name, timeout := range now.rules.Affinity {
		m.touchSet(name)
		m.all.Affinity[name] = timeout
	}
}

// drop takes back one claim on e.
func (m *merged) drop(e Element) {
	m.touch(e)
	if m.claims[e] == 0 {
		delete(m.all.Elements, e)
		return
	}
	if m.claims[e]--; m.claims[e] == 0 {
		delete(m.claims, e)
	}
	m.settle(e)
}

// claim records a part's value for e, a new claim or a changed one.
func (m *merged) claim(e Element, v string, isNew bool) {
	m.touch(e)
	if _, taken := m.all.Elements[e]; taken && isNew {
		m.claims[e]++
	}
	if m.claims[e] == 0 {
		m.all.Elements[e] = v
		return
	}
	m.settle(e)
}

// settle finds whose claim on e counts. The search is through all parts, but only where two disagree can it
// matter, and elements without a value agree.
func (m *merged) settle(e Element) {
	if m.all.Elements[e] == "" {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(m.parts)) {
		if v, has := m.parts[key].rules.Elements[e]; has {
			m.all.Elements[e] = v
			return
		}
	}
}

func (m *merged) touch(e Element) {
	if _, known := m.touched.Elements[e]; known {
		return
	}
	m.touched.Elements[e] = ""
	if v, had := m.all.Elements[e]; had {
		m.before.Elements[e] = v
	}
}

func (m *merged) touchChain(name string) {
	if _, known := m.touched.Chains[name]; known {
		return
	}
	m.touched.Chains[name] = nil
	if rules, had := m.all.Chains[name]; had {
		m.before.Chains[name] = rules
	}
}

func (m *merged) touchSet(name string) {
	if _, known := m.touched.Affinity[name]; known {
		return
	}
	m.touched.Affinity[name] = 0
	if timeout, had := m.all.Affinity[name]; had {
		m.before.Affinity[name] = timeout
	}
}

// take returns what was touched since the last take, as it was and as it is now.
func (m *merged) take() (before, after Ruleset) {
	after = newRuleset()
	for e := range m.touched.Elements {
		if v, has := m.all.Elements[e]; has {
			after.Elements[e] = v
		}
	}
	for name := range m.touched.Chains {
		if rules, has := m.all.Chains[name]; has {
			after.Chains[name] = rules
		}
	}
	for name := range m.touched.Affinity {
		if timeout, has := m.all.Affinity[name]; has {
			after.Affinity[name] = timeout
		}
	}
	before = m.before
	m.before, m.touched = newRuleset(), newRuleset()
	return before, after
}
