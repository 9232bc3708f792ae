package coordination

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// leases describes Lease.
func leases() *catalogue.Resource {
	return catalogue.Describe[coordinationv1.Lease, coordinationv1.LeaseList](catalogue.Kind[*coordinationv1.Lease]{
		Resource:       api.Leases.Resource,
		Columns:        leaseColumns,
		Row:            leaseRow,
		CreateOnUpdate: true,
		NeedsRevision:  true,
	})
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
