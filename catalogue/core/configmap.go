package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// configMaps describes ConfigMap.
func configMaps() *catalogue.Resource {
	return catalogue.Describe[corev1.ConfigMap, corev1.ConfigMapList](catalogue.Kind[*corev1.ConfigMap]{
		Resource:   api.ConfigMaps.Resource,
		Columns:    configMapColumns,
		Row:        configMapRow,
		Default:    defaultConfigMap,
		ShortNames: []string{"cm"},
	})
}

func defaultConfigMap(c *corev1.ConfigMap) {
	if c.Data == nil {
		c.Data = map[string]string{}
	}
}

var configMapColumns = []table.Column{
	table.Name,
	table.String("Data", table.Doc(corev1.ConfigMap{}, "data")),
	table.Age,
}

func configMapRow(c *corev1.ConfigMap, now time.Time) []any {
	return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), table.Since(c.CreationTimestamp, now)}
}
