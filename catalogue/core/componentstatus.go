package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// componentStatuses describes ComponentStatus.
func componentStatuses() *catalogue.Resource {
	return catalogue.Describe[corev1.ComponentStatus, corev1.ComponentStatusList](catalogue.Kind[*corev1.ComponentStatus]{
		Resource:   api.Resource{Version: "v1", Name: "componentstatuses", Kind: "ComponentStatus"},
		Columns:    componentStatusColumns,
		Row:        componentStatusRow,
		Deprecated: "v1 ComponentStatus is deprecated in v1.19+",
		ShortNames: []string{"cs"}, Verbs: []string{"get", "list"}, Unstored: true,
	})
}

var componentStatusColumns = []table.Column{
	table.Name,
	table.String("Status", "Status of the component conditions"),
	table.String("Message", "Message of the component conditions"),
	table.String("Error", "Error of the component conditions"),
}

func componentStatusRow(s *corev1.ComponentStatus, _ time.Time) []any {
	for _, c := range s.Conditions {
		if c.Type == corev1.ComponentHealthy {
			status := "Unhealthy"
			if c.Status == corev1.ConditionTrue {
				status = "Healthy"
			}
			return []any{s.Name, status, c.Message, c.Error}
		}
	}
	return []any{s.Name, "Unknown", "", ""}
}
