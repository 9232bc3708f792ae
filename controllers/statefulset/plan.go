package statefulset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/controllers/pods"
)

// A Plan is what one reconcile does.
type Plan struct {
	Create    []member
	Delete    []*corev1.Pod
	Relabel   []*corev1.Pod // with the labels they lack
	Condemned []*corev1.Pod // beyond the wanted number: their claims may go with them
	Events    []event
	Status    appsv1.StatefulSetStatus
	Again     time.Duration // when a pod becomes available; 0: nothing to wait for
}

type event struct{ kind, reason, message string }

// A member is a pod to be made, from the current template or from the newest.
type member struct {
	ordinal int
	update  bool
}

// A world is what plan decides from. All of it is read-only.
type world struct {
	set             *appsv1.StatefulSet
	pods            []*corev1.Pod
	current, update string // names of the templates' records
	now             time.Time
}

// plan decides the next step. Ordered sets take one step at a time and wait until it has worked.
func plan(w world) Plan {
	set := w.set
	p := Plan{}
	replicas, condemned := w.arrange()
	p.Condemned = condemned
	p.count(w)
	if set.DeletionTimestamp != nil {
		return p
	}
	ordered := set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
	if p.fill(w, replicas, ordered) && p.shrink(w, replicas, condemned, ordered) {
		p.roll(w, replicas)
	}
	return p
}

// arrange sorts the pods into the wanted members, nil where one is missing, and the others, highest first.
func (w world) arrange() (replicas, condemned []*corev1.Pod) {
	replicas = make([]*corev1.Pod, *w.set.Spec.Replicas)
	for _, p := range w.pods {
		switch i := ordinal(w.set, p) - first(w.set); {
		case ordinal(w.set, p) < 0:
		case i >= 0 && i < len(replicas):
			replicas[i] = p
		default:
			condemned = append(condemned, p)
		}
	}
	slices.SortFunc(condemned, func(a, b *corev1.Pod) int { return ordinal(w.set, b) - ordinal(w.set, a) })
	return replicas, condemned
}

func running(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning && pods.Ready(p) }

// healthy says whether p runs, is ready for long enough and is to stay.
func (p *Plan) healthy(w world, pod *corev1.Pod) bool {
	if !running(pod) || pod.DeletionTimestamp != nil {
		return false
	}
	ok, wait := pods.Available(pod, w.set.Spec.MinReadySeconds, w.now)
	if wait > 0 && (p.Again == 0 || wait < p.Again) {
		p.Again = wait
	}
	return ok
}

// fill makes missing members. It returns false if the next phase has to wait.
func (p *Plan) fill(w world, replicas []*corev1.Pod, ordered bool) bool {
	settled := true
	for i, pod := range replicas {
		n := i + first(w.set)
		switch {
		case pod == nil:
			p.Create = append(p.Create, member{n, !w.usesCurrent(n)})
			settled = false
		case pods.Finished(pod):
			if pod.DeletionTimestamp == nil {
				p.Delete = append(p.Delete, pod)
				if pod.Status.Phase == corev1.PodFailed {
					p.Events = append(p.Events, event{corev1.EventTypeWarning, "RecreatingFailedPod",
						"StatefulSet " + w.set.Namespace + "/" + w.set.Name + " is recreating failed Pod " + pod.Name})
				}
			}
			settled = false
		default:
			if c := pod.DeepCopy(); pod.DeletionTimestamp == nil && identify(w.set, c) {
				p.Relabel = append(p.Relabel, c)
			}
			if p.healthy(w, pod) {
				continue
			}
			if !ordered {
				continue
			}
			settled = false
		}
		if ordered {
			return settled
		}
	}
	return settled
}

// usesCurrent says whether member n is to be made from the current template and not from the newest:
// below the partition, or among those that an update without partition has not reached.
func (w world) usesCurrent(n int) bool {
	s := w.set.Spec.UpdateStrategy
	if s.Type != appsv1.RollingUpdateStatefulSetStrategyType || w.current == w.update {
		return false
	}
	if s.RollingUpdate == nil || s.RollingUpdate.Partition == nil {
		return n < first(w.set)+int(w.set.Status.CurrentReplicas)
	}
	return n < first(w.set)+int(*s.RollingUpdate.Partition)
}

// shrink takes condemned pods away, the highest first. It returns false if updates have to wait.
func (p *Plan) shrink(w world, replicas, condemned []*corev1.Pod, ordered bool) bool {
	sick := firstSick(append(slices.Clone(replicas), condemned...), w.set)
	for _, pod := range condemned {
		if pod.DeletionTimestamp != nil {
			if ordered {
				return false // one at a time
			}
			continue
		}
		if ordered && !running(pod) && pod != sick {
			return false
		}
		p.Delete = append(p.Delete, pod)
		if ordered {
			return false
		}
	}
	return len(condemned) == 0 || !ordered
}

// firstSick is the unhealthy pod of the lowest ordinal: the one that may be deleted although it is not
// ready, or else a broken set could not be scaled down.
func firstSick(all []*corev1.Pod, set *appsv1.StatefulSet) *corev1.Pod {
	var found *corev1.Pod
	for _, p := range all {
		if p != nil && (!running(p) || p.DeletionTimestamp != nil) && (found == nil || ordinal(set, p) < ordinal(set, found)) {
			found = p
		}
	}
	return found
}

// roll deletes pods of older templates, the highest first, down to the partition; fill makes them anew.
func (p *Plan) roll(w world, replicas []*corev1.Pod) {
	s := w.set.Spec.UpdateStrategy
	if s.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return
	}
	partition, room := 0, 1
	if s.RollingUpdate != nil {
		if s.RollingUpdate.Partition != nil {
			partition = int(*s.RollingUpdate.Partition)
		}
		room = maxUnavailable(s.RollingUpdate.MaxUnavailable, len(replicas))
	}
	for _, pod := range replicas {
		if pod == nil || !p.healthy(w, pod) {
			room--
		}
	}
	for i := len(replicas) - 1; i >= partition; i-- {
		pod := replicas[i]
		if pod == nil {
			return
		}
		stale := pod.Labels[appsv1.StatefulSetRevisionLabel] != w.update
		switch {
		case stale && pod.DeletionTimestamp == nil && !p.healthy(w, pod): // it is missing already
			p.Delete = append(p.Delete, pod)
		case stale && pod.DeletionTimestamp == nil && room > 0:
			p.Delete = append(p.Delete, pod)
			room--
		case stale && pod.DeletionTimestamp == nil:
			return
		}
	}
}

func maxUnavailable(v *intstr.IntOrString, replicas int) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(1)), replicas, true)
	if err != nil {
		return 1
	}
	return max(1, n)
}

// count makes the status from the pods as they are.
func (p *Plan) count(w world) {
	set := w.set
	st := appsv1.StatefulSetStatus{
		ObservedGeneration: set.Generation, CollisionCount: set.Status.CollisionCount, Conditions: set.Status.Conditions,
		CurrentRevision: w.current, UpdateRevision: w.update,
	}
	for _, pod := range w.pods {
		if ordinal(set, pod) < 0 {
			continue
		}
		if pod.Status.Phase != "" {
			st.Replicas++
		}
		if running(pod) {
			st.ReadyReplicas++
			if p.healthy(w, pod) || pod.DeletionTimestamp != nil && set.Spec.MinReadySeconds == 0 {
				st.AvailableReplicas++
			}
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		switch pod.Labels[appsv1.StatefulSetRevisionLabel] {
		case w.current:
			st.CurrentReplicas++
			if w.current == w.update {
				st.UpdatedReplicas++
			}
		case w.update:
			st.UpdatedReplicas++
		}
	}
	if n := *set.Spec.Replicas; set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType &&
		st.UpdatedReplicas == n && st.ReadyReplicas == n && st.Replicas == n {
		st.CurrentReplicas, st.CurrentRevision = st.UpdatedReplicas, st.UpdateRevision
	}
	p.Status = st
}
