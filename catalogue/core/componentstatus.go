package core

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
)

// componentStatuses describes ComponentStatus.
func componentStatuses() *catalogue.Resource {
	return catalogue.Describe[corev1.ComponentStatus, corev1.ComponentStatusList](catalogue.Kind[*corev1.ComponentStatus]{
		Resource:   api.Resource{Version: "v1", Name: "componentstatuses", Kind: "ComponentStatus"},
		ShortNames: []string{"cs"}, Verbs: []string{"get", "list"}, Unstored: true,
	})
}
