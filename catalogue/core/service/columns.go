package service

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/catalogue/table"
)

var columns = slices.Concat([]table.Column{
	table.Name,
	table.String("Type", table.Doc(corev1.ServiceSpec{}, "type")),
	table.String("Cluster-IP", table.Doc(corev1.ServiceSpec{}, "clusterIP")),
	table.String("External-IP", table.Doc(corev1.ServiceSpec{}, "externalIPs")),
	table.String("Port(s)", table.Doc(corev1.ServiceSpec{}, "ports")),
	table.Age,
}, table.Wide(
	table.String("Selector", table.Doc(corev1.ServiceSpec{}, "selector")),
))

func row(s *corev1.Service, now time.Time) []any {
	clusterIP := table.None
	if len(s.Spec.ClusterIPs) > 0 {
		clusterIP = s.Spec.ClusterIPs[0]
	}
	return []any{
		s.Name, string(s.Spec.Type), clusterIP, external(s), table.Or(ports(s.Spec.Ports), table.None),
		table.Since(s.CreationTimestamp, now), table.Labels(s.Spec.Selector),
	}
}

// external is where a service can be reached from outside.
func external(s *corev1.Service) string {
	var list []string
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return table.Or(strings.Join(s.Spec.ExternalIPs, ","), table.None)
	case corev1.ServiceTypeLoadBalancer:
		for _, ing := range s.Status.LoadBalancer.Ingress {
			if at := table.Or(ing.IP, ing.Hostname); at != "" {
				list = append(list, at)
			}
		}
		slices.Sort(list)
		list = append(slices.Compact(list), s.Spec.ExternalIPs...)
		return table.Or(strings.Join(list, ","), "<pending>")
	}
	return table.Unknown
}

func ports(list []corev1.ServicePort) string {
	parts := make([]string, len(list))
	for i, p := range list {
		parts[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			parts[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return strings.Join(parts, ",")
}
