package scheduling

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// priorityClasses describes PriorityClass.
func priorityClasses() *catalogue.Resource {
	return catalogue.Describe[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](catalogue.Kind[*schedulingv1.PriorityClass]{
		Resource:   api.PriorityClasses.Resource,
		Columns:    priorityClassColumns,
		Row:        priorityClassRow,
		Default:    defaultPriorityClass,
		ShortNames: []string{"pc"},
	})
}

func defaultPriorityClass(c *schedulingv1.PriorityClass) {
	rule.SetIfNil(&c.PreemptionPolicy, corev1.PreemptLowerPriority)
}

var priorityClassColumns = []table.Column{
	table.Name,
	table.Integer("Value", table.Doc(schedulingv1.PriorityClass{}, "value")),
	table.Boolean("Global-Default", table.Doc(schedulingv1.PriorityClass{}, "globalDefault")),
	table.Age,
	table.String("PreemptionPolicy", table.Doc(schedulingv1.PriorityClass{}, "preemptionPolicy")),
}

func priorityClassRow(c *schedulingv1.PriorityClass, now time.Time) []any {
	var preemption string
	if c.PreemptionPolicy != nil {
		preemption = string(*c.PreemptionPolicy)
	}
	return []any{c.Name, int64(c.Value), c.GlobalDefault, table.Since(c.CreationTimestamp, now), preemption}
}
