package scheduler

import (
	"errors"
	"slices"
	"strings"
	"time"

	"clipper/scheduler/cluster"
	"clipper/scheduler/fit"
	"clipper/scheduler/preempt"
	"clipper/scheduler/queue"
	"clipper/scheduler/rank"
)

// An outcome is what a decision wants done; one of its parts is set.
type outcome struct {
	binding *binding
	failure *failure
}

var errNoNodes = errors.New("no nodes available to schedule pods")

// decideLocked finds the pod a node and assumes it there, or parks it. REQUIRES: s.mu.
func (s *Scheduler) decideLocked(it *queue.Item) *outcome {
	begun := time.Now()
	o := s.placeLocked(it, begun)
	now := time.Now()
	algorithm.Observe(now.Sub(begun).Seconds())
	if o == nil || o.failure != nil {
		attempted(unschedulable, begun, now)
	}
	return o
}

// placeLocked is decideLocked for an attempt that began at begun. REQUIRES: s.mu.
func (s *Scheduler) placeLocked(it *queue.Item, begun time.Time) *outcome {
	pod := it.Pod
	nodes := s.cluster.Nodes()
	if len(nodes) == 0 {
		s.queue.Park(it, cluster.NodeAdded)
		return &outcome{failure: &failure{pod: pod.Pod, message: errNoNodes.Error(), clearNomination: true}}
	}
	request, refused := fit.Prepare(pod, s.cluster, s.world.fit)
	now := passed("PreFilter", refused == nil, begun)
	if refused != nil {
		it.Rejected = []string{refused.Plugin}
		s.queue.Park(it, refused.Wake)
		message := preempt.Unavailable(len(nodes)) + " " + strings.Join(refused.Reasons, ", ") + ". preemption: " + preempt.NotHelpful(len(nodes))
		return &outcome{failure: &failure{pod: pod.Pod, message: message, clearNomination: true}}
	}
	feasible, rejected := s.feasibleLocked(request)
	now = passed("Filter", len(feasible) > 0, now)
	if len(feasible) == 0 {
		o := s.parkLocked(it, request, rejected)
		passed("PostFilter", o != nil && o.failure.nominate != "", now)
		return o
	}
	node := rank.Best(request, feasible, s.chance)
	passed("Score", true, now)
	s.cluster.Nominate(pod, "")
	s.cluster.Place(pod, node.Name)
	s.assumed[pod.UID] = node.Name
	return &outcome{binding: &binding{item: it, node: node.Name, volumes: request.Bindings(node), begun: begun}}
}

// feasibleLocked returns nodes that the pod fits on, and for a pod that fits nowhere, why. In a large cluster
// it stops when it has enough to choose from. REQUIRES: s.mu.
func (s *Scheduler) feasibleLocked(r *fit.Request) ([]*cluster.Node, map[string]*fit.Rejection) {
	nodes := s.cluster.Nodes()
	if name := s.cluster.NominatedNode(r.Pod); name != "" {
		if n := s.cluster.Node(name); n != nil && r.Check(n) == nil {
			return []*cluster.Node{n}, nil
		}
	}
	if names := r.NodeNames(); names != nil {
		return s.namedLocked(r, names)
	}
	enough := enoughFeasible(len(nodes))
	feasible := make([]*cluster.Node, 0, min(enough, 128))
	var rejected map[string]*fit.Rejection
	looked := 0
	for ; looked < len(nodes) && len(feasible) < enough; looked++ {
		n := nodes[(s.next+looked)%len(nodes)]
		if rj := r.Check(n); rj != nil {
			if len(feasible) == 0 {
				if rejected == nil {
					rejected = map[string]*fit.Rejection{}
				}
				rejected[n.Name] = rj
			}
			continue
		}
		feasible = append(feasible, n)
	}
	s.next = (s.next + looked) % len(nodes)
	return feasible, rejected
}

// namedLocked checks the only nodes that can match; the others are not looked at. REQUIRES: s.mu.
func (s *Scheduler) namedLocked(r *fit.Request, names []string) (feasible []*cluster.Node, rejected map[string]*fit.Rejection) {
	rejected = map[string]*fit.Rejection{}
	for _, n := range s.cluster.Nodes() {
		rejected[n.Name] = fit.NotNamed
	}
	for _, name := range names {
		n := s.cluster.Node(name)
		if n == nil {
			continue
		}
		if rj := r.Check(n); rj != nil {
			rejected[name] = rj
			continue
		}
		feasible = append(feasible, n)
	}
	return feasible, rejected
}

// enoughFeasible: a choice among some hundred nodes is nearly as good as among all. Upstream's figures.
func enoughFeasible(nodes int) int {
	const least, leastPercent = 100, 5
	if nodes < least {
		return nodes
	}
	percent := max(leastPercent, 50-nodes/125)
	return max(least, nodes*percent/100)
}

// parkLocked looks for pods to preempt and puts the pod aside. REQUIRES: s.mu.
func (s *Scheduler) parkLocked(it *queue.Item, r *fit.Request, rejected map[string]*fit.Rejection) *outcome {
	nodes := len(s.cluster.Nodes())
	reasons := map[string]int{}
	var wake cluster.Change
	for _, rj := range rejected {
		wake |= rj.Wake
		if !slices.Contains(it.Rejected, rj.Plugin) {
			it.Rejected = append(it.Rejected, rj.Plugin)
		}
		for _, reason := range rj.Reasons {
			reasons[reason]++
		}
	}
	f := &failure{pod: it.Pod.Pod, message: preempt.Summary(nodes, reasons)}
	if s.reports.evicting(it.Pod.UID) {
		s.queue.Park(it, wake) // its victims are about to go
		return nil
	}
	preemptions.Inc()
	candidate, why := preempt.Find(r, rejected, s.world.budgets(), s.chance(nodes))
	switch {
	case candidate != nil:
		f.nominate = candidate.Node.Name
		for _, v := range candidate.Victims {
			f.victims = append(f.victims, v.Pod)
		}
		victims.Observe(float64(len(f.victims)))
		s.nominateLocked(it.Pod, candidate.Node)
	default:
		f.message += " preemption: " + why
		f.clearNomination = !preempt.Waits(why)
		if f.clearNomination {
			s.cluster.Nominate(it.Pod, "")
		}
	}
	s.queue.Park(it, wake)
	return &outcome{failure: f}
}

// nominateLocked reserves the room that is being made. Pods of lower priority that had been promised the node
// lose that. REQUIRES: s.mu.
func (s *Scheduler) nominateLocked(p *cluster.Pod, n *cluster.Node) {
	for _, other := range append([]*cluster.Pod(nil), n.Nominated...) {
		if other.Priority() < p.Priority() {
			s.cluster.Nominate(other, "")
		}
	}
	s.cluster.Nominate(p, n.Name)
}

// fitsLocked reports whether a parked pod would fit on a node now. REQUIRES: s.mu.
func (s *Scheduler) fitsLocked(p *cluster.Pod, n *cluster.Node) bool {
	r, refused := fit.Prepare(p, s.cluster, s.world.fit)
	if refused != nil {
		return false
	}
	return r.DependsOnPods() || r.Check(n) == nil
}
