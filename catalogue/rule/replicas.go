package rule

import "k8s.io/apimachinery/pkg/util/validation/field"

// Replicas is what the status of a kind that keeps pods alike counts.
type Replicas struct {
	All, FullyLabeled, Ready, Available int32
	Terminating                         *int32 // nil: not counted
	ObservedGeneration                  int64
}

// Replicas checks what a status at the path counts.
func (f *Faults) Replicas(at *field.Path, r Replicas) {
	f.AtLeastZero(at.Child("replicas"), int64(r.All))
	f.AtLeastZero(at.Child("fullyLabeledReplicas"), int64(r.FullyLabeled))
	f.AtLeastZero(at.Child("readyReplicas"), int64(r.Ready))
	f.AtLeastZero(at.Child("availableReplicas"), int64(r.Available))
	f.AtLeastZero(at.Child("observedGeneration"), r.ObservedGeneration)
	f.AtLeastZeroIfSet(at.Child("terminatingReplicas"), r.Terminating)
	f.NoMoreReplicas(at.Child("fullyLabeledReplicas"), r.FullyLabeled, r.All, AboveReplicas)
	f.NoMoreReplicas(at.Child("readyReplicas"), r.Ready, r.All, AboveReplicas)
	f.NoMoreReplicas(at.Child("availableReplicas"), r.Available, r.All, AboveReplicas)
	f.NoMoreReplicas(at.Child("availableReplicas"), r.Available, r.Ready, "cannot be greater than readyReplicas")
}

// AboveReplicas is said of a part of the replicas that is more than all of them.
const AboveReplicas = "cannot be greater than status.replicas"

// NoMoreReplicas refuses a part of the replicas that is more than those it is a part of.
func (f *Faults) NoMoreReplicas(at *field.Path, part, all int32, text string) {
	if part > all {
		f.Invalid(at, part, text)
	}
}
