package networking

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// networkPolicies describes NetworkPolicy.
func networkPolicies() *catalogue.Resource {
	return catalogue.Describe[networkingv1.NetworkPolicy, networkingv1.NetworkPolicyList](catalogue.Kind[*networkingv1.NetworkPolicy]{
		Resource:       api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "networkpolicies", Kind: "NetworkPolicy", Namespaced: true},
		ValidateCreate: func(p *networkingv1.NetworkPolicy) field.ErrorList { return validateNetworkPolicy(p, nil) },
		ValidateUpdate: validateNetworkPolicy,
		Warnings:       policyWarnings,
		Columns:        networkPolicyColumns,
		Row:            networkPolicyRow,
		Default:        defaultNetworkPolicy,
		ShortNames:     []string{"netpol"},
		Generation:     catalogue.PartOf(func(o *networkingv1.NetworkPolicy) *networkingv1.NetworkPolicySpec { return &o.Spec }),
	})
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) != 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	for i := range p.Spec.Ingress {
		defaultPorts(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		defaultPorts(p.Spec.Egress[i].Ports)
	}
}

func defaultPorts(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		rule.SetIfNil(&ports[i].Protocol, corev1.ProtocolTCP)
	}
}

var networkPolicyColumns = []table.Column{
	table.Name,
	table.String("Pod-Selector", table.Doc(networkingv1.NetworkPolicySpec{}, "podSelector")),
	table.Age,
}

func networkPolicyRow(p *networkingv1.NetworkPolicy, now time.Time) []any {
	return []any{p.Name, table.Selector(&p.Spec.PodSelector), table.Since(p.CreationTimestamp, now)}
}
