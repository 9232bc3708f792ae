package scheduling

import (
	schedulingv1 "k8s.io/api/scheduling/v1"

	"clipper/api"
	"clipper/catalogue"
)

// priorityClasses describes PriorityClass.
func priorityClasses() *catalogue.Resource {
	return catalogue.Describe[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](catalogue.Kind[*schedulingv1.PriorityClass]{
		Resource:   api.PriorityClasses.Resource,
		ShortNames: []string{"pc"},
	})
}
