package core

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
)

// configMaps describes ConfigMap.
func configMaps() *catalogue.Resource {
	return catalogue.Describe[corev1.ConfigMap, corev1.ConfigMapList](catalogue.Kind[*corev1.ConfigMap]{
		Resource:   api.ConfigMaps.Resource,
		Default:    defaultConfigMap,
		ShortNames: []string{"cm"},
	})
}

func defaultConfigMap(c *corev1.ConfigMap) {
	if c.Data == nil {
		c.Data = map[string]string{}
	}
}
