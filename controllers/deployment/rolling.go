package deployment

import (
	"cmp"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// limits returns how many pods may exist beyond, and be unavailable below, the wanted number. Surge is
// rounded up and unavailability down; both zero would block every rollout, so one may then be unavailable.
func limits(d *appsv1.Deployment) (surge, unavailable int32) {
	ru := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || ru == nil {
		return 0, 0
	}
	want := int(*d.Spec.Replicas)
	s, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(ru.MaxSurge, intstr.FromInt32(0)), want, true)
	u, _ := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(ru.MaxUnavailable, intstr.FromInt32(0)), want, false)
	if s == 0 && u == 0 {
		u = 1
	}
	return int32(s), int32(min(u, want))
}

func sum(sets []*appsv1.ReplicaSet, of func(*appsv1.ReplicaSet) int32) int32 {
	n := int32(0)
	for _, rs := range sets {
		if rs != nil {
			n += of(rs)
		}
	}
	return n
}

func wanted(rs *appsv1.ReplicaSet) int32    { return *rs.Spec.Replicas }
func existing(rs *appsv1.ReplicaSet) int32  { return rs.Status.Replicas }
func available(rs *appsv1.ReplicaSet) int32 { return rs.Status.AvailableReplicas }
func ready(rs *appsv1.ReplicaSet) int32     { return rs.Status.ReadyReplicas }

// newSize returns how large the newest set may be now; it is has at present.
func newSize(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, has int32) int32 {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return *d.Spec.Replicas
	}
	surge, _ := limits(d)
	room := *d.Spec.Replicas + surge - sum(sets, wanted)
	return has + max(0, min(room, *d.Spec.Replicas-has))
}

// shrinkOld takes pods from old sets: first those that are not available anyway, then available ones as
// far as the minimum allows.
func (p *Plan) shrinkOld(d *appsv1.Deployment, newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	_, maxUnavailable := limits(d)
	minAvailable := *d.Spec.Replicas - maxUnavailable
	newUnavailable := *newSet.Spec.Replicas - newSet.Status.AvailableReplicas
	left := sum(old, wanted) + *newSet.Spec.Replicas - minAvailable - newUnavailable
	if left <= 0 {
		return
	}
	size := map[*appsv1.ReplicaSet]int32{}
	for _, rs := range old {
		size[rs] = *rs.Spec.Replicas
		unhealthy := min(left, *rs.Spec.Replicas-rs.Status.AvailableReplicas)
		if unhealthy > 0 {
			size[rs] -= unhealthy
			left -= unhealthy
		}
	}
	spare := sum(old, available) + newSet.Status.AvailableReplicas - minAvailable
	for _, rs := range old {
		if take := min(size[rs], spare); take > 0 {
			size[rs] -= take
			spare -= take
		}
		if size[rs] != *rs.Spec.Replicas {
			p.Scale = append(p.Scale, Scale{rs, size[rs]})
		}
	}
}

// isScaling says whether spec.replicas has changed since the active sets were last sized.
func isScaling(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) bool {
	for _, rs := range active(sets) {
		if n, ok := number(rs, desiredAnnotation); ok && n != *d.Spec.Replicas {
			return true
		}
	}
	return false
}

// scale changes the sizes after spec.replicas has changed, without moving pods between revisions: in the
// middle of a rollout every set gets its proportion.
func (p *Plan) scale(d *appsv1.Deployment, newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	if only := activeOrLatest(newSet, old); only != nil {
		p.resize(d, only, *d.Spec.Replicas)
		return
	}
	if saturated(d, newSet) {
		for _, rs := range active(old) {
			p.Scale = append(p.Scale, Scale{rs, 0})
		}
		return
	}
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return
	}
	all := active(old)
	if newSet != nil && *newSet.Spec.Replicas > 0 {
		all = append(all, newSet)
	}
	for _, s := range proportions(d, all) {
		p.resize(d, s.Set, s.Size)
	}
}

// proportions divides what is to be added, or taken away, among the sets by their size. Larger ones come
// first, newer ones when growing and older ones when shrinking; the first gets the rest of the rounding.
func proportions(d *appsv1.Deployment, all []*appsv1.ReplicaSet) []Scale {
	surge, _ := limits(d)
	allowed := int32(0)
	if *d.Spec.Replicas > 0 {
		allowed = *d.Spec.Replicas + surge
	}
	add := allowed - sum(all, wanted)
	slices.SortFunc(all, func(a, b *appsv1.ReplicaSet) int {
		age := byAge(a, b)
		if add > 0 {
			age = -age
		}
		return cmp.Or(cmp.Compare(wanted(b), wanted(a)), age)
	})
	out := make([]Scale, len(all))
	added := int32(0)
	for i, rs := range all {
		share := int32(0)
		if add != 0 && add != added {
			share = fraction(d, rs, allowed)
			if rest := add - added; add > 0 {
				share = min(share, rest)
			} else {
				share = max(share, rest)
			}
		}
		out[i] = Scale{rs, *rs.Spec.Replicas + share}
		added += share
	}
	if len(out) > 0 && add != 0 {
		out[0].Size = max(0, out[0].Size+add-added)
	}
	return out
}

// fraction is what rs would gain if it grew like the whole.
func fraction(d *appsv1.Deployment, rs *appsv1.ReplicaSet, allowed int32) int32 {
	if *d.Spec.Replicas == 0 {
		return -*rs.Spec.Replicas
	}
	before, ok := number(rs, maxAnnotation)
	if !ok || before == 0 {
		if before = d.Status.Replicas; before == 0 {
			return 0
		}
	}
	size := float64(*rs.Spec.Replicas) * float64(allowed) / float64(before)
	return int32(math.Round(size)) - *rs.Spec.Replicas
}

// activeOrLatest returns the one set that has pods; if none has, the newest; nil if several have.
func activeOrLatest(newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	all := active(old)
	if newSet != nil && *newSet.Spec.Replicas > 0 {
		all = append(all, newSet)
	}
	switch {
	case len(all) == 1:
		return all[0]
	case len(all) > 1:
		return nil
	case newSet != nil:
		return newSet
	case len(old) > 0:
		return old[len(old)-1]
	}
	return nil
}

// saturated says whether the newest set has all the pods it should, and they are available.
func saturated(d *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	if rs == nil {
		return false
	}
	desired, ok := number(rs, desiredAnnotation)
	want := *d.Spec.Replicas
	return ok && desired == want && *rs.Spec.Replicas == want && rs.Status.AvailableReplicas == want
}
