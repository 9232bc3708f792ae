// Package node describes Node.
package node

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
)

// Resource describes Node.
func Resource() *catalogue.Resource {
	return catalogue.Describe[corev1.Node, corev1.NodeList](catalogue.Kind[*corev1.Node]{
		Resource:   api.Nodes.Resource,
		ShortNames: []string{"no"},
		Prefix:     "minions",

		Spec:   catalogue.PartOf(func(n *corev1.Node) *corev1.NodeSpec { return &n.Spec }),
		Status: catalogue.PartOf(func(n *corev1.Node) *corev1.NodeStatus { return &n.Status }),
		// A node agent registers itself with its addresses and capacity in one request.
		KeepCreateState: true,

		Fields: map[string]func(*corev1.Node) string{
			"spec.unschedulable": func(n *corev1.Node) string { return strconv.FormatBool(n.Spec.Unschedulable) },
		},
		Subresources: []catalogue.Subresource{
			{Name: "proxy", Kind: "NodeProxyOptions", Verbs: []string{"create", "delete", "get", "patch", "update"}},
		},
	})
}
