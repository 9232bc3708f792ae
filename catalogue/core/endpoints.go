package core

import (
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// endpoints describes Endpoints.
func endpoints() *catalogue.Resource {
	return catalogue.Describe[corev1.Endpoints, corev1.EndpointsList](catalogue.Kind[*corev1.Endpoints]{
		Resource:   api.Endpoints.Resource,
		Columns:    endpointsColumns,
		Row:        endpointsRow,
		Default:    defaultEndpoints,
		ShortNames: []string{"ep"}, Prefix: "services/endpoints", CreateOnUpdate: true,
	})
}

func defaultEndpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			rule.SetIfEmpty(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}

var endpointsColumns = []table.Column{
	table.Name,
	table.String("Endpoints", table.Doc(corev1.Endpoints{}, "subsets")),
	table.Age,
}

func endpointsRow(e *corev1.Endpoints, now time.Time) []any {
	return []any{e.Name, addresses(e), table.Since(e.CreationTimestamp, now)}
}

func addresses(e *corev1.Endpoints) string {
	if len(e.Subsets) == 0 {
		return table.None
	}
	var list []string
	for _, subset := range e.Subsets {
		for _, address := range subset.Addresses {
			if len(subset.Ports) == 0 { // of a headless service
				list = append(list, address.IP)
			}
		}
		for _, port := range subset.Ports {
			for _, address := range subset.Addresses {
				list = append(list, net.JoinHostPort(address.IP, strconv.Itoa(int(port.Port))))
			}
		}
	}
	if len(list) == 0 {
		return ""
	}
	return table.FirstOf(list, len(list))
}
