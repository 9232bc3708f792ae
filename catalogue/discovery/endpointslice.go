package discovery

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// endpointSlices describes EndpointSlice.
func endpointSlices() *catalogue.Resource {
	return catalogue.Describe[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](catalogue.Kind[*discoveryv1.EndpointSlice]{
		Resource:      api.EndpointSlices.Resource,
		PrepareCreate: func(s *discoveryv1.EndpointSlice) { dropTopology(s.Endpoints, nil) },
		PrepareUpdate: func(s, old *discoveryv1.EndpointSlice) {
			if !equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
				dropTopology(s.Endpoints, old.Endpoints)
			}
		},
		Warnings:       sliceWarnings,
		ValidateCreate: validateSlice,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: validateSliceUpdate,
		Columns:        sliceColumns,
		Row:            sliceRow,
		Default:        defaultEndpointSlice,
		Generation: catalogue.Both(
			catalogue.Whole(func(o *discoveryv1.EndpointSlice) *metav1.ObjectMeta { return &o.ObjectMeta }),
			catalogue.PartOf(func(o *discoveryv1.EndpointSlice) *map[string]string { return &o.Labels }),
		),
	})
}

// dropTopology takes away what only older versions of the API have. The name of a node that was there stays known.
func dropTopology(endpoints, old []discoveryv1.Endpoint) {
	known := map[string]bool{}
	for i := range old {
		if name, ok := old[i].DeprecatedTopology[corev1.LabelHostname]; ok {
			known[name] = true
		}
	}
	for i := range endpoints {
		e := &endpoints[i]
		name := e.DeprecatedTopology[corev1.LabelHostname]
		if e.NodeName == nil && known[name] && len(validation.NameIsDNSSubdomain(name, false)) == 0 {
			e.NodeName = &name
		}
		e.DeprecatedTopology = nil
	}
}

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		rule.SetIfNil(&s.Ports[i].Name, "")
		rule.SetIfNil(&s.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}

var sliceColumns = []table.Column{
	table.Name,
	table.String("AddressType", table.Doc(discoveryv1.EndpointSlice{}, "addressType")),
	table.String("Ports", table.Doc(discoveryv1.EndpointSlice{}, "ports")),
	table.String("Endpoints", table.Doc(discoveryv1.EndpointSlice{}, "endpoints")),
	table.Age,
}

func sliceRow(s *discoveryv1.EndpointSlice, now time.Time) []any {
	var ports, addresses []string
	for _, p := range s.Ports {
		switch {
		case p.Port != nil:
			ports = append(ports, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			ports = append(ports, *p.Name)
		default:
			ports = append(ports, "*")
		}
	}
	for _, e := range s.Endpoints {
		addresses = append(addresses, e.Addresses...)
	}
	return []any{
		s.Name, string(s.AddressType), table.FirstOf(ports, len(ports)), table.FirstOf(addresses, len(addresses)),
		table.Since(s.CreationTimestamp, now),
	}
}

// sliceWarnings skip what the slice controllers write: it is right, and there is much of it.
func sliceWarnings(s, old *discoveryv1.EndpointSlice) []string {
	n := &rule.Notes{}
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		n.Say("spec.addressType: FQDN endpoints are deprecated")
	}
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return n.List
	}
	for i, e := range s.Endpoints {
		for j, address := range e.Addresses {
			n.IP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), address)
		}
	}
	return n.List
}
