package coordination

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// leases describes Lease.
func leases() *catalogue.Resource {
	return catalogue.Describe[coordinationv1.Lease, coordinationv1.LeaseList](catalogue.Kind[*coordinationv1.Lease]{
		Resource:       api.Leases.Resource,
		ValidateCreate: validateLease,
		PrepareCreate:  func(l *coordinationv1.Lease) { dropCoordination(&l.Spec, &coordinationv1.LeaseSpec{}) },
		PrepareUpdate:  func(l, old *coordinationv1.Lease) { dropCoordination(&l.Spec, &old.Spec) },
		AnyFinalizers:  true,
		ValidateUpdate: func(l, _ *coordinationv1.Lease) field.ErrorList { return validateLease(l) },
		Columns:        leaseColumns,
		Row:            leaseRow,
		CreateOnUpdate: true,
		NeedsRevision:  true,
	})
}

// dropCoordination clears what belongs to coordinated leader election, which is off by default.
func dropCoordination(s, old *coordinationv1.LeaseSpec) {
	if old.Strategy == nil {
		s.Strategy = nil
	}
	if old.PreferredHolder == nil {
		s.PreferredHolder = nil
	}
}

var leaseColumns = []table.Column{
	table.Name,
	table.String("Holder", table.Doc(coordinationv1.LeaseSpec{}, "holderIdentity")),
	table.Age,
}

func leaseRow(l *coordinationv1.Lease, now time.Time) []any {
	var holder string
	if l.Spec.HolderIdentity != nil {
		holder = *l.Spec.HolderIdentity
	}
	return []any{l.Name, holder, table.Since(l.CreationTimestamp, now)}
}

func validateLease(l *coordinationv1.Lease) field.ErrorList {
	f, at, s := &rule.Faults{}, field.NewPath("spec"), &l.Spec
	if n := s.LeaseDurationSeconds; n != nil && *n <= 0 {
		f.Invalid(at.Child("leaseDurationSeconds"), n, "must be greater than 0")
	}
	if n := s.LeaseTransitions; n != nil && *n < 0 {
		f.Invalid(at.Child("leaseTransitions"), n, "must be greater than or equal to 0")
	}
	if s.PreferredHolder != nil && *s.PreferredHolder != "" && (s.Strategy == nil || *s.Strategy == "") {
		f.Forbidden(at.Child("preferredHolder"), "may only be specified if `strategy` is defined")
	}
	return f.List
}
