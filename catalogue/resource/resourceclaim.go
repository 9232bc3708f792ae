package resource

import (
	"strings"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// resourceClaims describes ResourceClaim.
func resourceClaims() *catalogue.Resource {
	r := catalogue.Describe[resourcev1.ResourceClaim, resourcev1.ResourceClaimList](catalogue.Kind[*resourcev1.ResourceClaim]{
		Resource:       api.Resource{Group: "resource.k8s.io", Version: "v1", Name: "resourceclaims", Kind: "ResourceClaim", Namespaced: true},
		ValidateCreate: validateClaim,
		Metadata:       catalogue.WholeThenChanges,
		ValidateUpdate: validateClaimUpdate,
		ValidateStatus: validateClaimStatus,
		PrepareStatus: func(c, old *resourcev1.ResourceClaim) {
			metav1.ResetObjectMetaForStatus(&c.ObjectMeta, &old.ObjectMeta)
			keepAllocated(&c.Status, &old.Status)
		},
		Columns: claimColumns,
		Row:     claimRow,
		Default: defaultClaim,
		Spec:    catalogue.PartOf(func(o *resourcev1.ResourceClaim) *resourcev1.ResourceClaimSpec { return &o.Spec }),
		Status:  catalogue.PartOf(func(o *resourcev1.ResourceClaim) *resourcev1.ResourceClaimStatus { return &o.Status }),
	})
	r.Status.NoTable = true
	return r
}

func defaultClaim(c *resourcev1.ResourceClaim) {
	defaultClaimSpec(&c.Spec)
	if a := c.Status.Allocation; a != nil {
		for i := range a.Devices.Results {
			defaultTolerations(a.Devices.Results[i].Tolerations)
		}
	}
}

func defaultClaimSpec(s *resourcev1.ResourceClaimSpec) {
	for i := range s.Devices.Requests {
		r := &s.Devices.Requests[i]
		if r.Exactly != nil {
			defaultCount(&r.Exactly.AllocationMode, &r.Exactly.Count)
			defaultTolerations(r.Exactly.Tolerations)
		}
		for j := range r.FirstAvailable {
			defaultCount(&r.FirstAvailable[j].AllocationMode, &r.FirstAvailable[j].Count)
			defaultTolerations(r.FirstAvailable[j].Tolerations)
		}
	}
}

// defaultCount asks for exactly one device where a request says nothing.
func defaultCount(mode *resourcev1.DeviceAllocationMode, count *int64) {
	rule.SetIfEmpty(mode, resourcev1.DeviceAllocationModeExactCount)
	if *mode == resourcev1.DeviceAllocationModeExactCount {
		rule.SetIfEmpty(count, 1)
	}
}

func defaultTolerations(list []resourcev1.DeviceToleration) {
	for i := range list {
		rule.SetIfEmpty(&list[i].Operator, resourcev1.DeviceTolerationOpEqual)
	}
}

var claimColumns = []table.Column{
	table.Name,
	table.String("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
	table.Age,
}

func claimRow(c *resourcev1.ResourceClaim, now time.Time) []any {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation == nil && c.DeletionTimestamp == nil:
		states = append(states, "pending")
	case c.Status.Allocation != nil && len(c.Status.ReservedFor) > 0:
		states = append(states, "allocated", "reserved")
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
	}
	return []any{c.Name, strings.Join(states, ","), table.Since(c.CreationTimestamp, now)}
}
