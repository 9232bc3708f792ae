package daemonset

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/controllers/pods"
)

// burst caps the pods made in one reconcile. Upstream's figure.
const burst = 250

// A Plan is what one reconcile does.
type Plan struct {
	Create []string // nodes that get a pod
	Delete []*corev1.Pod
	Status appsv1.DaemonSetStatus
	Events []event
	Again  time.Duration // when a pod becomes available, or may be replaced; 0: nothing to wait for
}

type event struct{ kind, reason, message string }

// A world is what plan decides from. All of it is read-only.
type world struct {
	ds    *appsv1.DaemonSet
	hash  string // of the present template
	nodes []*corev1.Node
	pods  []*corev1.Pod
	// mayReplace says how long to wait before a failed pod on a node is replaced; 0: now.
	mayReplace func(node string) time.Duration
	now        time.Time
}

// A spot is a node with its daemon pods.
type spot struct {
	node        *corev1.Node
	pods        []*corev1.Pod
	start, stay bool
}

func spots(w world) []spot {
	byNode := map[string][]*corev1.Pod{}
	for _, p := range w.pods {
		if p.DeletionTimestamp != nil && pods.Finished(p) {
			continue // as good as gone
		}
		byNode[nodeOf(p)] = append(byNode[nodeOf(p)], p)
	}
	out := make([]spot, len(w.nodes))
	sample := podFor(w.ds, w.hash, "")
	sample.Spec.Affinity = w.ds.Spec.Template.Spec.Affinity // the user's own, not that which pins to a node
	for i, n := range w.nodes {
		out[i] = spot{node: n, pods: byNode[n.Name]}
		out[i].start, out[i].stay = suits(sample, n)
		delete(byNode, n.Name)
	}
	return out
}

func plan(w world) Plan {
	all := spots(w)
	p := Plan{}
	if w.ds.DeletionTimestamp == nil {
		p.manage(w, all)
		if len(p.Create)+len(p.Delete) == 0 && w.ds.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
			p.roll(w, all)
		}
	}
	p.Create = p.Create[:min(len(p.Create), burst)]
	p.count(w, all)
	return p
}

func (p *Plan) again(d time.Duration) {
	if d > 0 && (p.Again == 0 || d < p.Again) {
		p.Again = d
	}
}

// manage brings one pod to every suitable node and takes the others away.
func (p *Plan) manage(w world, all []spot) {
	known := map[string]bool{}
	surge, _ := limits(w.ds, desired(all))
	for _, s := range all {
		known[s.node.Name] = true
		switch {
		case s.start && len(s.pods) == 0:
			p.Create = append(p.Create, s.node.Name)
		case s.stay:
			p.tidy(w, s, surge > 0)
		default:
			p.Delete = append(p.Delete, slices.DeleteFunc(slices.Clone(s.pods), deleting)...)
		}
	}
	for _, pod := range w.pods { // meant for a node that is gone, and never bound
		if pod.Spec.NodeName == "" && !known[nodeOf(pod)] && !deleting(pod) {
			p.Delete = append(p.Delete, pod)
		}
	}
}

func deleting(p *corev1.Pod) bool { return p.DeletionTimestamp != nil }

// tidy removes finished pods of a node and all but the oldest of the others. During a surge the newest
// template's pod may stand beside an old one.
func (p *Plan) tidy(w world, s spot, surge bool) {
	var running []*corev1.Pod
	for _, pod := range s.pods {
		switch {
		case deleting(pod):
		case pod.Status.Phase == corev1.PodFailed:
			if wait := w.mayReplace(s.node.Name); wait > 0 {
				p.again(wait)
				continue
			}
			p.Events = append(p.Events, event{corev1.EventTypeWarning, "FailedDaemonPod",
				fmt.Sprintf("Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, s.node.Name)})
			p.Delete = append(p.Delete, pod)
		case pod.Status.Phase == corev1.PodSucceeded:
			p.Events = append(p.Events, event{corev1.EventTypeNormal, "SucceededDaemonPod",
				fmt.Sprintf("Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, s.node.Name)})
			p.Delete = append(p.Delete, pod)
		default:
			running = append(running, pod)
		}
	}
	if surge {
		p.extra(w.keepOldest(running, func(pod *corev1.Pod) bool { return updated(pod, w.hash) }))
		p.extra(w.keepOldest(running, func(pod *corev1.Pod) bool { return !updated(pod, w.hash) }))
		return
	}
	p.extra(w.keepOldest(running, func(*corev1.Pod) bool { return true }))
}

func (p *Plan) extra(surplus []*corev1.Pod) { p.Delete = append(p.Delete, surplus...) }

// keepOldest returns all of those that count but the oldest; bound ones are older than others.
func (w world) keepOldest(running []*corev1.Pod, counts func(*corev1.Pod) bool) []*corev1.Pod {
	of := pods.Filter(running, counts)
	slices.SortStableFunc(of, func(a, b *corev1.Pod) int {
		if (a.Spec.NodeName == "") != (b.Spec.NodeName == "") {
			if a.Spec.NodeName != "" {
				return -1
			}
			return 1
		}
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	return of[min(1, len(of)):]
}

func updated(p *corev1.Pod, hash string) bool {
	return p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == hash
}

func desired(all []spot) int {
	n := 0
	for _, s := range all {
		if s.start {
			n++
		}
	}
	return n
}

// limits returns how many nodes may have two pods, and how many none that is available, during an update.
func limits(ds *appsv1.DaemonSet, desired int) (surge, unavailable int) {
	ru := ds.Spec.UpdateStrategy.RollingUpdate
	if ds.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType || ru == nil {
		return 0, 0
	}
	surge, _ = intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(ru.MaxSurge, intstr.FromInt32(0)), desired, true)
	unavailable, _ = intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(ru.MaxUnavailable, intstr.FromInt32(1)), desired, true)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// roll replaces pods of older templates.
func (p *Plan) roll(w world, all []spot) {
	surge, unavailable := limits(w.ds, desired(all))
	if surge > 0 {
		p.rollBySurge(w, all, surge)
		return
	}
	missing := 0
	var broken, candidates []*corev1.Pod
	for _, s := range all {
		if !s.start {
			continue
		}
		fresh, old := s.split(w.hash)
		switch {
		case fresh == nil && old == nil: // being made, or on its way out
			missing++
		case fresh != nil:
			if !p.available(w, fresh) {
				missing++
			}
		case !p.available(w, old): // nothing is lost with it
			broken = append(broken, old)
		default:
			candidates = append(candidates, old)
		}
	}
	room := max(0, min(unavailable-missing, len(candidates)))
	p.Delete = append(broken, candidates[:room]...)
}

// rollBySurge makes new pods beside old ones, which go when the new are available.
func (p *Plan) rollBySurge(w world, all []spot, surge int) {
	double := 0
	var now, candidates []string
	for _, s := range all {
		if !s.start {
			continue
		}
		fresh, old := s.split(w.hash)
		switch {
		case old == nil:
		case fresh == nil && !p.available(w, old):
			now = append(now, s.node.Name)
		case fresh == nil:
			candidates = append(candidates, s.node.Name)
		case p.available(w, fresh) || !p.available(w, old):
			p.Delete = append(p.Delete, old)
		default:
			double++
		}
	}
	room := max(0, min(surge-double-len(now), len(candidates)))
	p.Create = append(now, candidates[:room]...)
}

// split returns the node's pod of the present template and the older one.
func (s spot) split(hash string) (fresh, old *corev1.Pod) {
	for _, p := range s.pods {
		switch {
		case deleting(p):
		case updated(p, hash):
			fresh = p
		default:
			old = p
		}
	}
	return fresh, old
}

func (p *Plan) available(w world, pod *corev1.Pod) bool {
	ok, wait := pods.Available(pod, w.ds.Spec.MinReadySeconds, w.now)
	p.again(wait)
	return ok
}

// count makes the status from the pods as they are.
func (p *Plan) count(w world, all []spot) {
	st := appsv1.DaemonSetStatus{
		ObservedGeneration: w.ds.Generation, CollisionCount: w.ds.Status.CollisionCount, Conditions: w.ds.Status.Conditions,
	}
	for _, s := range all {
		live := slices.DeleteFunc(slices.Clone(s.pods), pods.Finished)
		switch {
		case s.start:
			st.DesiredNumberScheduled++
			if len(live) == 0 {
				continue
			}
			st.CurrentNumberScheduled++
			first := w.newest(live)
			if pods.Ready(first) {
				st.NumberReady++
				if p.available(w, first) {
					st.NumberAvailable++
				}
			}
			if updated(first, w.hash) {
				st.UpdatedNumberScheduled++
			}
		case len(live) > 0:
			st.NumberMisscheduled++
		}
	}
	st.NumberUnavailable = st.DesiredNumberScheduled - st.NumberAvailable
	p.Status = st
}

// newest picks the pod that counts for a node: a ready one before others, then the youngest.
func (w world) newest(live []*corev1.Pod) *corev1.Pod {
	return slices.MaxFunc(live, func(a, b *corev1.Pod) int {
		if pods.Ready(a) != pods.Ready(b) {
			if pods.Ready(a) {
				return 1
			}
			return -1
		}
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
}
