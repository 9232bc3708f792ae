package node

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/catalogue/table"
)

var columns = slices.Concat([]table.Column{
	table.Name,
	table.String("Status", "The status of the node"),
	table.String("Roles", "The roles of the node"),
	table.Age,
	table.String("Version", table.Doc(corev1.NodeSystemInfo{}, "kubeletVersion")),
}, table.Wide(
	table.String("Internal-IP", table.Doc(corev1.NodeStatus{}, "addresses")),
	table.String("External-IP", table.Doc(corev1.NodeStatus{}, "addresses")),
	table.String("OS-Image", table.Doc(corev1.NodeSystemInfo{}, "osImage")),
	table.String("Kernel-Version", table.Doc(corev1.NodeSystemInfo{}, "kernelVersion")),
	table.String("Container-Runtime", table.Doc(corev1.NodeSystemInfo{}, "containerRuntimeVersion")),
))

func row(n *corev1.Node, now time.Time) []any {
	info := n.Status.NodeInfo
	kernel := table.Or(info.KernelVersion, table.Unknown)
	if info.Architecture != "" {
		kernel += " (" + info.Architecture + ")"
	}
	return []any{
		n.Name, readiness(n), table.Or(strings.Join(roles(n.Labels), ","), table.None),
		table.Since(n.CreationTimestamp, now), info.KubeletVersion,
		address(n, corev1.NodeInternalIP), address(n, corev1.NodeExternalIP),
		table.Or(info.OSImage, table.Unknown), kernel, table.Or(info.ContainerRuntimeVersion, table.Unknown),
	}
}

func readiness(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type != corev1.NodeReady:
		case c.Status == corev1.ConditionTrue:
			status = "Ready"
		default:
			status = "NotReady"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// roles are the names that labels give a node, in both of the forms in use.
func roles(labels map[string]string) []string {
	set := map[string]bool{}
	for key, value := range labels {
		if role, ok := strings.CutPrefix(key, "node-role.kubernetes.io/"); ok && role != "" {
			set[role] = true
		} else if key == "kubernetes.io/role" && value != "" {
			set[value] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func address(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return table.None
}
