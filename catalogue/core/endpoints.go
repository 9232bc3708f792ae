package core

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/service"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// endpoints describes Endpoints.
func endpoints() *catalogue.Resource {
	return catalogue.Describe[corev1.Endpoints, corev1.EndpointsList](catalogue.Kind[*corev1.Endpoints]{
		Resource:       api.Endpoints.Resource,
		Deprecated:     "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
		Warnings:       endpointsWarnings,
		ValidateCreate: func(e *corev1.Endpoints) field.ErrorList { return validateSubsets(e.Subsets) },
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: func(e, old *corev1.Endpoints) field.ErrorList {
			if equality.Semantic.DeepEqual(e.Subsets, old.Subsets) {
				return nil // what came in under older rules may stay
			}
			return validateSubsets(e.Subsets)
		},
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
				list = append(list, hostPort(address.IP, port.Port))
			}
		}
	}
	if len(list) == 0 {
		return ""
	}
	return table.FirstOf(list, len(list))
}

func validateSubsets(list []corev1.EndpointSubset) field.ErrorList {
	f := &rule.Faults{}
	for i := range list {
		s, at := &list[i], field.NewPath("subsets").Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			f.Required(at, "must specify `addresses` or `notReadyAddresses`")
		}
		for j := range s.Addresses {
			endpointAddress(f, &s.Addresses[j], at.Child("addresses").Index(j))
		}
		for j := range s.NotReadyAddresses {
			endpointAddress(f, &s.NotReadyAddresses[j], at.Child("notReadyAddresses").Index(j))
		}
		for j, p := range s.Ports {
			path := at.Child("ports").Index(j)
			if p.Name != "" {
				f.DNSLabel(path.Child("name"), p.Name)
			} else if len(s.Ports) > 1 {
				f.Required(path.Child("name"), "")
			}
			f.Port(path.Child("port"), p.Port)
			if f.Need(path.Child("protocol"), string(p.Protocol)) {
				rule.OneOf(f, path.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
			}
			if p.AppProtocol != nil {
				f.QualifiedName(path.Child("appProtocol"), *p.AppProtocol)
			}
		}
	}
	return f.List
}

func endpointAddress(f *rule.Faults, a *corev1.EndpointAddress, at *field.Path) {
	f.IP(at.Child("ip"), a.IP)
	if a.Hostname != "" {
		f.DNSLabel(at.Child("hostname"), a.Hostname)
	}
	if a.NodeName != nil {
		f.DNSSubdomain(at.Child("nodeName"), *a.NodeName)
	}
	service.EndpointIP(f, at.Child("ip"), a.IP)
}

// endpointsWarnings skip what the endpoints controller writes: it is right, and there is much of it.
func endpointsWarnings(e, _ *corev1.Endpoints) []string {
	if e.Labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
		return nil
	}
	n := &rule.Notes{}
	for i, s := range e.Subsets {
		at := field.NewPath("subsets").Index(i)
		for j, a := range s.Addresses {
			n.IP(at.Child("addresses").Index(j).Child("ip"), a.IP)
		}
		for j, a := range s.NotReadyAddresses {
			n.IP(at.Child("notReadyAddresses").Index(j).Child("ip"), a.IP)
		}
	}
	return n.List
}

// hostPort joins as package net does, which the catalogue has no other business with.
func hostPort(ip string, port int32) string {
	if strings.Contains(ip, ":") {
		ip = "[" + ip + "]"
	}
	return ip + ":" + strconv.Itoa(int(port))
}
