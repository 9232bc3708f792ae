package core

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
)

// podTemplates describes PodTemplate.
func podTemplates() *catalogue.Resource {
	return catalogue.Describe[corev1.PodTemplate, corev1.PodTemplateList](catalogue.Kind[*corev1.PodTemplate]{
		Resource:   api.Resource{Version: "v1", Name: "podtemplates", Kind: "PodTemplate", Namespaced: true},
		Default:    defaultPodTemplate,
		Generation: catalogue.PartOf(func(t *corev1.PodTemplate) *corev1.PodTemplateSpec { return &t.Template }),
	})
}

func defaultPodTemplate(t *corev1.PodTemplate) { podspec.DefaultTemplate(&t.Template) }
