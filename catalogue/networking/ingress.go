package networking

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// ingresses describes Ingress.
func ingresses() *catalogue.Resource {
	return catalogue.Describe[networkingv1.Ingress, networkingv1.IngressList](catalogue.Kind[*networkingv1.Ingress]{
		Resource:       api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "ingresses", Kind: "Ingress", Namespaced: true},
		ValidateCreate: validateIngress,
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: validateIngressUpdate,
		ValidateStatus: validateIngressStatus,
		Warnings:       ingressWarnings,
		Columns:        ingressColumns,
		Row:            ingressRow,
		ShortNames:     []string{"ing"},
		Prefix:         "ingress",
		Spec:           catalogue.PartOf(func(o *networkingv1.Ingress) *networkingv1.IngressSpec { return &o.Spec }),
		Status:         catalogue.PartOf(func(o *networkingv1.Ingress) *networkingv1.IngressStatus { return &o.Status }),
		Generation:     catalogue.PartOf(func(o *networkingv1.Ingress) *networkingv1.IngressSpec { return &o.Spec }),
	})
}

var ingressColumns = []table.Column{
	table.Name,
	table.String("Class", "The name of the IngressClass resource that should be used for additional configuration"),
	table.String("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
	table.String("Address", "Address is a list containing ingress points for the load-balancer"),
	table.String("Ports", "Ports of TLS configurations that open"),
	table.Age,
}

func ingressRow(i *networkingv1.Ingress, now time.Time) []any {
	ports := "80"
	if len(i.Spec.TLS) != 0 {
		ports = "80, 443"
	}
	return []any{
		i.Name, table.OrNone(i.Spec.IngressClassName), hosts(i.Spec.Rules), ingressAddress(i), ports, table.Since(i.CreationTimestamp, now),
	}
}

func hosts(rules []networkingv1.IngressRule) string {
	const shown = 3
	var list []string
	more := false
	for _, r := range rules {
		if len(list) == shown {
			more = true
			break
		}
		if r.Host != "" {
			list = append(list, r.Host)
		}
	}
	text := table.Or(strings.Join(list, ","), "*")
	if more {
		text += fmt.Sprintf(" + %d more...", len(rules)-shown)
	}
	return text
}

func ingressAddress(i *networkingv1.Ingress) string {
	var list []string
	for _, ing := range i.Status.LoadBalancer.Ingress {
		if at := table.Or(ing.IP, ing.Hostname); at != "" {
			list = append(list, at)
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}
