package networking

import (
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// serviceCIDRs describes ServiceCIDR.
func serviceCIDRs() *catalogue.Resource {
	return catalogue.Describe[networkingv1.ServiceCIDR, networkingv1.ServiceCIDRList](catalogue.Kind[*networkingv1.ServiceCIDR]{
		Resource:       api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "servicecidrs", Kind: "ServiceCIDR"},
		ValidateCreate: validateServiceCIDR,
		ValidateUpdate: validateServiceCIDRUpdate,
		PrepareStatus: func(c, old *networkingv1.ServiceCIDR) {
			metav1.ResetObjectMetaForStatus(&c.ObjectMeta, &old.ObjectMeta)
		},
		Columns: serviceCIDRColumns,
		Row:     serviceCIDRRow,
		Spec:    catalogue.PartOf(func(o *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRSpec { return &o.Spec }),
		Status:  catalogue.PartOf(func(o *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRStatus { return &o.Status }),
	})
}

var serviceCIDRColumns = []table.Column{
	table.Name,
	table.String("CIDRs", table.Doc(networkingv1.ServiceCIDRSpec{}, "cidrs")),
	table.Age,
}

func serviceCIDRRow(c *networkingv1.ServiceCIDR, now time.Time) []any {
	return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), table.Since(c.CreationTimestamp, now)}
}
