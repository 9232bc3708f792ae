package resource

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// resourceClaimTemplates describes ResourceClaimTemplate.
func resourceClaimTemplates() *catalogue.Resource {
	return catalogue.Describe[resourcev1.ResourceClaimTemplate, resourcev1.ResourceClaimTemplateList](catalogue.Kind[*resourcev1.ResourceClaimTemplate]{
		Resource:       api.Resource{Group: "resource.k8s.io", Version: "v1", Name: "resourceclaimtemplates", Kind: "ResourceClaimTemplate", Namespaced: true},
		ValidateCreate: validateTemplate,
		Metadata:       catalogue.WholeThenChanges,
		ValidateUpdate: validateTemplateUpdate,
		Columns:        claimTemplateColumns,
		Row:            claimTemplateRow,
		Default:        defaultClaimTemplate,
	})
}

func defaultClaimTemplate(t *resourcev1.ResourceClaimTemplate) { defaultClaimSpec(&t.Spec.Spec) }

var claimTemplateColumns = []table.Column{
	table.Name,
	table.Age,
}

func claimTemplateRow(t *resourcev1.ResourceClaimTemplate, now time.Time) []any {
	return []any{t.Name, table.Since(t.CreationTimestamp, now)}
}
