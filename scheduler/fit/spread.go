package fit

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"clipper/scheduler/cluster"
)

// A Constraint is a topology spread constraint with its selector parsed.
type Constraint struct {
	Key           string
	MaxSkew       int
	MinDomains    int
	Selector      labels.Selector
	honorAffinity bool
	honorTaints   bool
	matchesItself bool
	namespace     string
}

// Constraints returns those of a pod with the given action.
func Constraints(p *cluster.Pod, action corev1.UnsatisfiableConstraintAction) []Constraint {
	var out []Constraint
	for i := range p.Spec.TopologySpreadConstraints {
		if t := &p.Spec.TopologySpreadConstraints[i]; t.WhenUnsatisfiable == action {
			out = append(out, newConstraint(p, t))
		}
	}
	return out
}

func newConstraint(p *cluster.Pod, t *corev1.TopologySpreadConstraint) Constraint {
	c := Constraint{
		Key: t.TopologyKey, MaxSkew: int(t.MaxSkew), MinDomains: 1, namespace: p.Namespace,
		Selector:      withLabels(cluster.Selector(t.LabelSelector), t.MatchLabelKeys, p.Labels),
		honorAffinity: t.NodeAffinityPolicy == nil || *t.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
		honorTaints:   t.NodeTaintsPolicy != nil && *t.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
	}
	if t.MinDomains != nil {
		c.MinDomains = int(*t.MinDomains)
	}
	c.matchesItself = c.Selector.Matches(labels.Set(p.Labels))
	return c
}

// withLabels narrows a selector to pods that have the same values as this one under the given keys.
func withLabels(s labels.Selector, keys []string, own map[string]string) labels.Selector {
	for _, k := range keys {
		v, ok := own[k]
		if !ok {
			continue
		}
		if r, err := labels.NewRequirement(k, selection.In, []string{v}); err == nil {
			s = s.Add(*r)
		}
	}
	return s
}

// DefaultConstraint makes the soft constraint of the cluster's defaults.
func DefaultConstraint(key string, maxSkew int, namespace string, s labels.Selector) Constraint {
	return Constraint{Key: key, MaxSkew: maxSkew, MinDomains: 1, Selector: s, namespace: namespace, honorAffinity: true}
}

// Count returns how many pods on n the constraint means. Those that are going away do not count.
func (c *Constraint) Count(n *cluster.Node) int {
	count := 0
	for _, p := range n.Pods {
		if p.DeletionTimestamp == nil && p.Namespace == c.namespace && c.Selector.Matches(labels.Set(p.Labels)) {
			count++
		}
	}
	return count
}

// Includes reports whether a node's pods count for the constraint.
func (r *Request) Includes(c *Constraint, n *cluster.Node) bool {
	if c.honorAffinity && !r.anyNode {
		if ok, err := r.nodeAffinity.Match(n.Node); !ok || err != nil {
			return false
		}
	}
	return !c.honorTaints || !r.repelled(n)
}

// HasAllDomains reports whether a node has the topology key of every constraint.
func HasAllDomains(cs []Constraint, n *cluster.Node) bool {
	for i := range cs {
		if _, ok := n.Domain(cs[i].Key); !ok {
			return false
		}
	}
	return true
}

// spreadState is a hard constraint with the number of matching pods in each domain.
type spreadState struct {
	Constraint
	counts map[string]int
	least  int
}

func (r *Request) prepareSpread() []spreadState {
	cs := Constraints(r.Pod, corev1.DoNotSchedule)
	if len(cs) == 0 {
		return nil
	}
	states := make([]spreadState, len(cs))
	for i := range cs {
		states[i] = spreadState{Constraint: cs[i], counts: map[string]int{}}
	}
	for _, n := range r.c.Nodes() {
		if !HasAllDomains(cs, n) {
			continue
		}
		for i := range states {
			s := &states[i]
			if r.Includes(&s.Constraint, n) {
				s.counts[n.Labels[s.Key]] += s.Count(n)
			}
		}
	}
	for i := range states {
		states[i].least = states[i].minimum()
	}
	return states
}

// minimum is the smallest count of a domain; with fewer domains than asked for, the missing ones count as empty.
func (s *spreadState) minimum() int {
	if len(s.counts) < s.MinDomains || len(s.counts) == 0 {
		return 0
	}
	least := -1
	for _, n := range s.counts {
		if least < 0 || n < least {
			least = n
		}
	}
	return least
}

func (s *spreadState) check(n *cluster.Node) *Rejection {
	domain, ok := n.Domain(s.Key)
	if !ok {
		return spreadLabel
	}
	skew := s.counts[domain] - s.least
	if s.matchesItself {
		skew++
	}
	if skew > s.MaxSkew {
		return spreadSkew
	}
	return nil
}
