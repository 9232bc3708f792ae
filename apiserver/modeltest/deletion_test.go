package modeltest

import "slices"

// A deletion is what a client asks of a DELETE.
type deletion struct {
	policy string // propagationPolicy; "" if it is not said
	grace  *int64 // gracePeriodSeconds
}

// The finalizers that stand for a propagation policy.
var policyFinalizers = map[string]string{"Orphan": "orphan", "Foreground": "foregroundDeletion"}

// delete returns what an object becomes, in turn: for a moment it may be what nobody asked for. nil is its end.
func (o *modelObject) delete(k modelKey, how deletion) []*modelObject {
	next := o.clone()
	graceful := kinds[k.kind].pod && (!o.deleting || o.grace > 0)
	switch {
	case !graceful:
	case !o.deleting:
		next.grace = o.graceFor(k, how)
	case how.grace == nil || atLeastOne(*how.grace) >= o.grace:
		return []*modelObject{o} // it ends already, and no later than asked
	default:
		next.grace = atLeastOne(*how.grace)
	}
	next.finalizers = how.finalizers(o.finalizers)
	if !graceful {
		next.grace = 0
		if len(next.finalizers) == 0 {
			return []*modelObject{nil}
		}
	}
	if !o.deleting && next.generation > 0 {
		next.generation++
	}
	next.deleting = true
	if len(next.finalizers) == 0 && next.grace == 0 {
		return []*modelObject{next, nil}
	}
	return []*modelObject{next}
}

// atLeastOne is what a grace period means that is negative.
func atLeastOne(seconds int64) int64 {
	if seconds < 0 {
		return 1
	}
	return seconds
}

// graceFor is the time that a pod gets: none if it does not run.
func (o *modelObject) graceFor(k modelKey, how deletion) int64 {
	switch {
	case o.node == "" || o.phase == "Succeeded" || o.phase == "Failed":
		return 0
	case how.grace != nil:
		return atLeastOne(*how.grace)
	}
	return terminationGrace(k)
}

// finalizers are those of an object with the ones that the policy wants, without those that it does not.
func (how deletion) finalizers(had []string) []string {
	if how.policy == "" {
		return had
	}
	out := slices.DeleteFunc(slices.Clone(had), func(f string) bool { return f == "orphan" || f == "foregroundDeletion" })
	if f, ok := policyFinalizers[how.policy]; ok {
		out = append(out, f)
	}
	return out
}

// released is what is left of an object after an update: nothing, if it was being deleted and nothing holds it any more.
func (o *modelObject) released() *modelObject {
	if o.deleting && o.grace == 0 && len(o.finalizers) == 0 {
		return nil
	}
	return o
}
