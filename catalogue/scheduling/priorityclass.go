package scheduling

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// priorityClasses describes PriorityClass.
func priorityClasses() *catalogue.Resource {
	return catalogue.Describe[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](catalogue.Kind[*schedulingv1.PriorityClass]{
		Resource:       api.PriorityClasses.Resource,
		ValidateCreate: validatePriorityClass,
		ValidateUpdate: validatePriorityClassUpdate,
		PrepareCreate:  func(c *schedulingv1.PriorityClass) { c.Generation = 1 },
		Columns:        priorityClassColumns,
		Row:            priorityClassRow,
		Default:        defaultPriorityClass,
		Permanent:      permanentPriorityClass,
		ShortNames:     []string{"pc"},
	})
}

func permanentPriorityClass(name string) string {
	if _, ours := systemClasses[name]; ours {
		return "this is a system priority class and cannot be deleted"
	}
	return ""
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

// The classes that every cluster has, and the names that begin like theirs.
const (
	systemPrefix    = "system-"
	highestForUsers = 1_000_000_000
)

var systemClasses = map[string]int32{
	"system-node-critical":    2*highestForUsers + 1000,
	"system-cluster-critical": 2 * highestForUsers,
}

func validatePriorityClass(c *schedulingv1.PriorityClass) field.ErrorList {
	f := &rule.Faults{}
	if strings.HasPrefix(c.Name, systemPrefix) {
		if wrong := unlikeSystem(c); wrong != "" {
			f.Forbidden(field.NewPath("metadata", "name"), "priority class names with 'system-' prefix are reserved for system use only. error: "+wrong)
		}
	} else if c.Value > highestForUsers {
		f.Forbidden(field.NewPath("value"), "maximum allowed value of a user defined priority is 1000000000")
	}
	if c.PreemptionPolicy != nil {
		rule.Choice(f, field.NewPath("preemptionPolicy"), *c.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	return f.List
}

// unlikeSystem says how a class differs from the one of the system whose name it has.
func unlikeSystem(c *schedulingv1.PriorityClass) string {
	value, ok := systemClasses[c.Name]
	switch {
	case !ok:
		return c.Name + " is not a known system priority class"
	case c.Value != value:
		return fmt.Sprintf("value of %v PriorityClass must be %v", c.Name, value)
	case c.GlobalDefault:
		return fmt.Sprintf("globalDefault of %v PriorityClass must be %v", c.Name, false)
	}
	return ""
}

func validatePriorityClassUpdate(c, old *schedulingv1.PriorityClass) field.ErrorList {
	f := &rule.Faults{}
	if c.Value != old.Value {
		f.Forbidden(field.NewPath("value"), "may not be changed in an update.")
	}
	f.Unchanged(field.NewPath("preemptionPolicy"), c.PreemptionPolicy, old.PreemptionPolicy)
	return f.List
}
