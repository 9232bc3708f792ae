package networking

import (
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// ipAddresses describes IPAddress.
func ipAddresses() *catalogue.Resource {
	return catalogue.Describe[networkingv1.IPAddress, networkingv1.IPAddressList](catalogue.Kind[*networkingv1.IPAddress]{
		Resource:       api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "ipaddresses", Kind: "IPAddress"},
		ValidateName:   ipAddressName,
		ValidateCreate: validateIPAddress,
		Metadata:       catalogue.WholeThenChanges,
		ValidateUpdate: func(a, old *networkingv1.IPAddress) field.ErrorList {
			f := &rule.Faults{List: validateIPAddress(a)}
			f.Unchanged(specPath.Child("parentRef"), a.Spec.ParentRef, old.Spec.ParentRef)
			return f.List
		},
		Columns:    ipAddressColumns,
		Row:        ipAddressRow,
		ShortNames: []string{"ip"},
	})
}

var ipAddressColumns = []table.Column{
	table.Name,
	table.String("ParentRef", table.Doc(networkingv1.IPAddressSpec{}, "parentRef")), // rows have an age that no column shows, as upstream's
}

func ipAddressRow(a *networkingv1.IPAddress, now time.Time) []any {
	parent := table.None
	if ref := a.Spec.ParentRef; ref != nil {
		parent = strings.ToLower(schema.GroupResource{Group: ref.Group, Resource: ref.Resource}.String())
		if ref.Namespace != "" {
			parent += "/" + ref.Namespace
		}
		parent += "/" + ref.Name
	}
	return []any{a.Name, parent, table.Since(a.CreationTimestamp, now)}
}
