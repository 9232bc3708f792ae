package resource

import (
	resourcev1 "k8s.io/api/resource/v1"

	"clipper/api"
	"clipper/catalogue"
)

// resourceClaimTemplates describes ResourceClaimTemplate.
func resourceClaimTemplates() *catalogue.Resource {
	return catalogue.Describe[resourcev1.ResourceClaimTemplate, resourcev1.ResourceClaimTemplateList](catalogue.Kind[*resourcev1.ResourceClaimTemplate]{
		Resource: api.Resource{Group: "resource.k8s.io", Version: "v1", Name: "resourceclaimtemplates", Kind: "ResourceClaimTemplate", Namespaced: true},
		Default:  defaultClaimTemplate,
	})
}

func defaultClaimTemplate(t *resourcev1.ResourceClaimTemplate) { defaultClaimSpec(&t.Spec.Spec) }
