package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/table"
)

// podTemplates describes PodTemplate.
func podTemplates() *catalogue.Resource {
	return catalogue.Describe[corev1.PodTemplate, corev1.PodTemplateList](catalogue.Kind[*corev1.PodTemplate]{
		Resource: api.Resource{Version: "v1", Name: "podtemplates", Kind: "PodTemplate", Namespaced: true},
		Warnings: func(t, old *corev1.PodTemplate) []string {
			return podspec.OwnerWarnings(&t.ObjectMeta, podspec.MetaOf(old), &t.Template, field.NewPath("template"), false)
		},
		ValidateCreate: func(t *corev1.PodTemplate) field.ErrorList {
			return podspec.ValidateTemplate(&t.Template, field.NewPath("template"), podspec.Options{})
		},
		ValidateUpdate: func(t, old *corev1.PodTemplate) field.ErrorList {
			return podspec.ValidateTemplate(&t.Template, field.NewPath("template"), podspec.OptionsFor(&old.Template.Spec))
		},
		PrepareCreate: func(t *corev1.PodTemplate) { podspec.DropDisabledTemplate(&t.Template, nil) },
		PrepareUpdate: func(t, old *corev1.PodTemplate) { podspec.DropDisabledTemplate(&t.Template, &old.Template) },
		Columns:       podTemplateColumns,
		Row:           podTemplateRow,
		Default:       defaultPodTemplate,
		Generation:    catalogue.PartOf(func(t *corev1.PodTemplate) *corev1.PodTemplateSpec { return &t.Template }),
	})
}

func defaultPodTemplate(t *corev1.PodTemplate) { podspec.DefaultTemplate(&t.Template) }

var podTemplateColumns = []table.Column{
	table.Name,
	podspec.ContainersColumn,
	podspec.ImagesColumn,
	table.String("Pod Labels", "The labels for the pod template."),
}

func podTemplateRow(t *corev1.PodTemplate, _ time.Time) []any {
	containers := t.Template.Spec.Containers
	return []any{t.Name, podspec.Names(containers), podspec.Images(containers), table.Labels(t.Template.Labels)}
}
