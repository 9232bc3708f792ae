// Package node describes Node.
package node

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
)

// Resource describes Node.
func Resource() *catalogue.Resource {
	return catalogue.Describe[corev1.Node, corev1.NodeList](catalogue.Kind[*corev1.Node]{
		Resource:      api.Nodes.Resource,
		PrepareCreate: func(n *corev1.Node) { n.Spec.ConfigSource, n.Status.Config = nil, nil }, // no longer heeded
		PrepareUpdate: func(n, old *corev1.Node) {
			if old.Spec.ConfigSource == nil {
				n.Spec.ConfigSource = nil
			}
		},
		PrepareStatus: func(n, old *corev1.Node) {
			if old.Status.Config == nil {
				n.Status.Config = nil
			}
		},
		ValidateCreate: validateCreate,
		Metadata:       catalogue.WholeThenChanges,
		ValidateUpdate: validateUpdate,
		ValidateStatus: validateChange,
		Warnings:       warnings,
		Columns:        columns,
		Row:            row,
		Default:        setDefaults,
		ShortNames:     []string{"no"},
		Prefix:         "minions",

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

func setDefaults(n *corev1.Node) {
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	podspec.RoundUp(n.Status.Capacity)
	podspec.RoundUp(n.Status.Allocatable)
	syncCIDRs(&n.Spec)
}

// syncCIDRs keeps the older single range equal to the first of the list; the single one wins.
func syncCIDRs(s *corev1.NodeSpec) {
	switch {
	case s.PodCIDR == "" && len(s.PodCIDRs) > 0:
		s.PodCIDR = s.PodCIDRs[0]
	case s.PodCIDR != "" && (len(s.PodCIDRs) == 0 || s.PodCIDRs[0] != s.PodCIDR):
		s.PodCIDRs = []string{s.PodCIDR}
	}
}
