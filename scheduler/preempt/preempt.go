// Package preempt finds the node where removing pods of lower priority makes room for a pod, at the least
// cost. It is pure, but for the duration of a call it takes pods out of the cluster's picture and puts them
// back.
package preempt

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"

	"clipper/scheduler/cluster"
	"clipper/scheduler/fit"
)

// A Candidate is a node and the pods that would have to go, the most important first.
type Candidate struct {
	Node       *cluster.Node
	Victims    []*cluster.Pod
	violations int // of disruption budgets
}

// Messages of the pod that cannot preempt.
const (
	never       = "not eligible due to preemptionPolicy=Never."
	terminating = "not eligible due to a terminating pod on the nominated node."
	notHelpful  = "Preemption is not helpful for scheduling"
	noVictims   = "No preemption victims found for incoming pod"
)

// Candidates looked at: a tenth of the nodes and at least a hundred, as many as give a good choice.
const (
	leastCandidates = 100
	candidatesShare = 10
)

// Find returns the best candidate. Without one, why says so in the words that follow "preemption: ".
// rejected are the reasons why r's pod does not fit, by node; nil for no node at all, when the pod was
// refused before any node was looked at. start is where to begin looking.
func Find(r *fit.Request, rejected map[string]*fit.Rejection, budgets []*policyv1.PodDisruptionBudget, start int) (best *Candidate, why string) {
	c := r.Cluster()
	if why := ineligible(r.Pod, c, rejected); why != "" {
		return nil, why
	}
	nodes := c.Nodes()
	reasons := map[string]int{}
	var found []*Candidate
	limit := max(leastCandidates, len(nodes)/candidatesShare)
	for i := range nodes {
		n := nodes[(start+i)%len(nodes)]
		if rj := rejected[n.Name]; rj == nil || rj.Final {
			reasons[notHelpful]++
			continue
		}
		candidate, rj := onNode(r, n, budgets)
		if candidate == nil {
			for _, reason := range rj.Reasons {
				reasons[reason]++
			}
			continue
		}
		if found = append(found, candidate); len(found) >= limit {
			break
		}
	}
	if len(found) == 0 {
		return nil, Summary(len(nodes), reasons)
	}
	return slices.MinFunc(found, cheaper), ""
}

// NotHelpful is the message for a pod that was refused before any node was looked at.
func NotHelpful(nodes int) string { return Summary(nodes, map[string]int{notHelpful: nodes}) }

// Summary counts reasons as upstream does: "0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods."
func Summary(nodes int, reasons map[string]int) string {
	lines := make([]string, 0, len(reasons))
	for reason, count := range reasons {
		lines = append(lines, fmt.Sprintf("%d %s", count, reason))
	}
	slices.Sort(lines)
	text := fmt.Sprintf("0/%d nodes are available:", nodes)
	for i, l := range lines {
		if i > 0 {
			text += ","
		}
		text += " " + l
	}
	if len(lines) > 0 {
		text += "."
	}
	return text
}

func ineligible(p *cluster.Pod, c *cluster.Cluster, rejected map[string]*fit.Rejection) string {
	if p.Spec.PreemptionPolicy != nil && *p.Spec.PreemptionPolicy == corev1.PreemptNever {
		return never
	}
	nominated := c.NominatedNode(p)
	if nominated == "" {
		return ""
	}
	if rj := rejected[nominated]; rj != nil && rj.Final {
		return ""
	}
	if n := c.Node(nominated); n != nil {
		for _, other := range n.Pods {
			if other.Priority() < p.Priority() && preempted(other.Pod) {
				return terminating // room is being made already
			}
		}
	}
	return ""
}

func preempted(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
	})
}

// onNode finds the smallest set of victims on one node: all lower pods go, and come back one by one, those
// under a disruption budget and the more important ones first, while there is room.
func onNode(r *fit.Request, n *cluster.Node, budgets []*policyv1.PodDisruptionBudget) (*Candidate, *fit.Rejection) {
	c := r.Cluster()
	var lower []*cluster.Pod
	for _, p := range n.Pods {
		if p.Priority() < r.Pod.Priority() {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		return nil, &fit.Rejection{Reasons: []string{noVictims}}
	}
	// Asked before anything is taken out: a victim's own anti-affinity may be what the request depends on.
	depends := r.DependsOnPods()
	refresh := func() {
		if depends {
			r.Refresh()
		}
	}
	out := map[*cluster.Pod]bool{}
	remove := func(p *cluster.Pod) { c.Remove(p.UID); out[p] = true }
	restore := func(p *cluster.Pod) { c.Place(p, n.Name); delete(out, p) }
	defer func() {
		for _, p := range lower {
			if out[p] {
				restore(p)
			}
		}
		refresh()
	}()
	for _, p := range lower {
		remove(p)
	}
	refresh()
	if rj := r.Check(n); rj != nil {
		return nil, rj
	}
	slices.SortStableFunc(lower, moreImportant)
	violating, others := split(lower, budgets)
	found := &Candidate{Node: n}
	reprieve := func(p *cluster.Pod) bool {
		restore(p)
		refresh()
		if r.Check(n) == nil {
			return true
		}
		remove(p)
		refresh()
		found.Victims = append(found.Victims, p)
		return false
	}
	for _, p := range violating {
		if !reprieve(p) {
			found.violations++
		}
	}
	for _, p := range others {
		reprieve(p)
	}
	slices.SortStableFunc(found.Victims, moreImportant)
	return found, nil
}

// moreImportant: by priority, then by how long it has been running.
func moreImportant(a, b *cluster.Pod) int {
	return cmp.Or(cmp.Compare(b.Priority(), a.Priority()), started(a).Compare(started(b)))
}

func started(p *cluster.Pod) time.Time {
	if p.Status.StartTime != nil {
		return p.Status.StartTime.Time
	}
	return p.CreationTimestamp.Time
}

// split separates the pods whose removal a disruption budget forbids.
func split(pods []*cluster.Pod, budgets []*policyv1.PodDisruptionBudget) (violating, others []*cluster.Pod) {
	allowed := make([]int32, len(budgets))
	for i, b := range budgets {
		allowed[i] = b.Status.DisruptionsAllowed
	}
	for _, p := range pods {
		violates := false
		for i, b := range budgets {
			if b.Namespace != p.Namespace || len(p.Labels) == 0 {
				continue
			}
			s := cluster.Selector(b.Spec.Selector)
			if s.Empty() || !s.Matches(labels.Set(p.Labels)) {
				continue
			}
			if _, counted := b.Status.DisruptedPods[p.Name]; counted {
				continue
			}
			if allowed[i]--; allowed[i] < 0 {
				violates = true
			}
		}
		if violates {
			violating = append(violating, p)
		} else {
			others = append(others, p)
		}
	}
	return violating, others
}

// cheaper orders candidates: fewest broken budgets, lowest top priority, lowest sum, fewest victims, and of
// the most important victims those that started last.
func cheaper(a, b *Candidate) int {
	if len(a.Victims) == 0 || len(b.Victims) == 0 {
		return cmp.Compare(len(a.Victims), len(b.Victims))
	}
	return cmp.Or(
		cmp.Compare(a.violations, b.violations),
		cmp.Compare(a.Victims[0].Priority(), b.Victims[0].Priority()),
		cmp.Compare(sum(a), sum(b)),
		cmp.Compare(len(a.Victims), len(b.Victims)),
		earliest(b).Compare(earliest(a)),
	)
}

func sum(c *Candidate) int64 {
	var s int64
	for _, v := range c.Victims {
		s += int64(v.Priority()) + 1<<31 // so that many negative ones do not look cheap
	}
	return s
}

func earliest(c *Candidate) time.Time {
	first := started(c.Victims[0])
	for _, v := range c.Victims {
		if v.Priority() == c.Victims[0].Priority() && started(v).Before(first) {
			first = started(v)
		}
	}
	return first
}

// Unavailable begins the message of a pod that was refused before any node was looked at.
func Unavailable(nodes int) string { return fmt.Sprintf("0/%d nodes are available:", nodes) }

// Waits reports whether a message of Find means that room is being made already.
func Waits(why string) bool { return why == terminating }
