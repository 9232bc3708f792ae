package fit

import (
	"clipper/scheduler/cluster"
)

// topology counts matching pods by topology key and value.
type topology map[string]map[string]int

func (t topology) add(key, value string) {
	if t[key] == nil {
		t[key] = map[string]int{}
	}
	t[key][value]++
}

// affinityState is what inter-pod affinity needs to know of all nodes.
type affinityState struct {
	active bool
	// existing are the domains that the required anti-affinity of a placed pod closes to this pod.
	existing topology
	// wanted and unwanted count, per domain, placed pods that match the pod's own required terms.
	wanted   topology
	unwanted []topology // one for each of its anti-affinity terms
	selfOnly bool       // nothing matches its affinity anywhere, but it does itself: it may be the first
}

func prepareAffinity(p *cluster.Pod, c *cluster.Cluster, namespaces cluster.NamespaceLabels) affinityState {
	var s affinityState
	_, anti := c.HasAffinity()
	own := len(p.Affinity.Required)+len(p.Affinity.RequiredAnti) > 0
	if !anti && !own {
		return s
	}
	s.active = true
	if anti {
		s.existing = closedDomains(p, c, namespaces)
	}
	if own {
		s.countOwn(p, c, namespaces)
	}
	return s
}

func closedDomains(p *cluster.Pod, c *cluster.Cluster, namespaces cluster.NamespaceLabels) topology {
	closed := topology{}
	for _, n := range c.Nodes() {
		if n.AntiAffinityPods == 0 {
			continue
		}
		for _, other := range n.Pods {
			for i := range other.Affinity.RequiredAnti {
				t := &other.Affinity.RequiredAnti[i]
				if v, ok := n.Domain(t.TopologyKey); ok && t.Matches(p, namespaces) {
					closed.add(t.TopologyKey, v)
				}
			}
		}
	}
	return closed
}

func (s *affinityState) countOwn(p *cluster.Pod, c *cluster.Cluster, namespaces cluster.NamespaceLabels) {
	s.wanted = topology{}
	s.unwanted = make([]topology, len(p.Affinity.RequiredAnti))
	for i := range s.unwanted {
		s.unwanted[i] = topology{}
	}
	for _, n := range c.Nodes() {
		for _, other := range n.Pods {
			if len(p.Affinity.Required) > 0 && matchesAll(p.Affinity.Required, other, namespaces) {
				for i := range p.Affinity.Required {
					key := p.Affinity.Required[i].TopologyKey
					if v, ok := n.Domain(key); ok {
						s.wanted.add(key, v)
					}
				}
			}
			for i := range p.Affinity.RequiredAnti {
				t := &p.Affinity.RequiredAnti[i]
				if v, ok := n.Domain(t.TopologyKey); ok && t.Matches(other, namespaces) {
					s.unwanted[i].add(t.TopologyKey, v)
				}
			}
		}
	}
	s.selfOnly = len(s.wanted) == 0 && matchesAll(p.Affinity.Required, p, namespaces)
}

// matchesAll: a placed pod counts for required affinity only if it matches every term.
func matchesAll(terms []cluster.Term, p *cluster.Pod, namespaces cluster.NamespaceLabels) bool {
	for i := range terms {
		if !terms[i].Matches(p, namespaces) {
			return false
		}
	}
	return true
}

func (s *affinityState) check(p *cluster.Pod, n *cluster.Node) *Rejection {
	if !s.affinityHolds(p, n) {
		return podAffinity
	}
	for i := range p.Affinity.RequiredAnti {
		key := p.Affinity.RequiredAnti[i].TopologyKey
		if v, ok := n.Domain(key); ok && s.unwanted[i][key][v] > 0 {
			return podAntiAffinity
		}
	}
	for key, closed := range s.existing {
		if v, ok := n.Domain(key); ok && closed[v] > 0 {
			return existingAnti
		}
	}
	return nil
}

func (s *affinityState) affinityHolds(p *cluster.Pod, n *cluster.Node) bool {
	exist := true
	for i := range p.Affinity.Required {
		key := p.Affinity.Required[i].TopologyKey
		v, ok := n.Domain(key)
		if !ok {
			return false
		}
		exist = exist && s.wanted[key][v] > 0
	}
	return exist || s.selfOnly
}
