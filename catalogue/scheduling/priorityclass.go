package scheduling

import (
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// priorityClasses describes PriorityClass.
func priorityClasses() *catalogue.Resource {
	return catalogue.Describe[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](catalogue.Kind[*schedulingv1.PriorityClass]{
		Resource:   api.PriorityClasses.Resource,
		Default:    defaultPriorityClass,
		ShortNames: []string{"pc"},
	})
}

func defaultPriorityClass(c *schedulingv1.PriorityClass) {
	rule.SetIfNil(&c.PreemptionPolicy, corev1.PreemptLowerPriority)
}
