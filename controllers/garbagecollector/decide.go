package garbagecollector

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
)

// An ownerState is what has become of an owner.
type ownerState int

const (
	solid   ownerState = iota // it exists, or nobody can tell
	absent                    // it is gone, or another object bears its name now
	waiting                   // it is being deleted and waits for its dependents to go first
)

// An action is what one look at an object leads to.
type action int

const (
	nothing     action = iota
	dropOwners         // remove the references to Owners, which do not hold it any more
	remove             // delete it with Policy
	orphan             // its dependents are to be let go; then the finalizer orphan is removed
	waitForRest        // it waits for the dependents that block it; if there are none, the finalizer goes
)

// A decision is an action and what it needs.
type decision struct {
	Action action
	Owners []types.UID
	Policy metav1.DeletionPropagation
}

func waitsForDependents(o metav1.Object) bool {
	return o.GetDeletionTimestamp() != nil && slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents)
}

func orphansDependents(o metav1.Object) bool {
	return o.GetDeletionTimestamp() != nil && slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents)
}

// decide says what becomes of o. state classifies its owners; hasDependents says whether anything names o
// as its owner.
func decide(o api.Object, state func(metav1.OwnerReference) ownerState, hasDependents bool) decision {
	switch {
	case orphansDependents(o):
		return decision{Action: orphan}
	case waitsForDependents(o):
		return decision{Action: waitForRest}
	case o.GetDeletionTimestamp() != nil, len(o.GetOwnerReferences()) == 0:
		return decision{}
	}
	var gone []types.UID
	holds, waits := 0, 0
	for _, ref := range o.GetOwnerReferences() {
		switch state(ref) {
		case solid:
			holds++
			continue
		case waiting:
			waits++
		}
		gone = append(gone, ref.UID)
	}
	switch {
	case holds > 0 && len(gone) == 0:
		return decision{}
	case holds > 0: // those that are gone must not block anything
		return decision{Action: dropOwners, Owners: gone}
	case waits > 0 && hasDependents: // its owner waits for all below it
		return decision{Action: remove, Policy: metav1.DeletePropagationForeground}
	}
	policy := metav1.DeletePropagationBackground
	switch {
	case slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents):
		policy = metav1.DeletePropagationOrphan
	case slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents):
		policy = metav1.DeletePropagationForeground
	}
	return decision{Action: remove, Policy: policy}
}

// blocks says whether o's reference to the owner keeps that one from going first.
func blocks(o metav1.Object, owner types.UID) bool {
	return slices.ContainsFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool {
		return r.UID == owner && r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
	})
}
