package node

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// runtimeClasses describes RuntimeClass.
func runtimeClasses() *catalogue.Resource {
	return catalogue.Describe[nodev1.RuntimeClass, nodev1.RuntimeClassList](catalogue.Kind[*nodev1.RuntimeClass]{
		Resource:       api.Resource{Group: "node.k8s.io", Version: "v1", Name: "runtimeclasses", Kind: "RuntimeClass"},
		Warnings:       runtimeClassWarnings,
		ValidateCreate: validateRuntimeClass,
		Metadata:       catalogue.WholeThenChanges,
		ValidateUpdate: func(c, old *nodev1.RuntimeClass) field.ErrorList {
			f := &rule.Faults{List: validateRuntimeClass(c)}
			f.Unchanged(field.NewPath("handler"), c.Handler, old.Handler)
			return f.List
		},
		Columns:        runtimeClassColumns,
		Row:            runtimeClassRow,
		CreateOnUpdate: true,
		AnyFinalizers:  true,
		NeedsRevision:  true,
	})
}

var runtimeClassColumns = []table.Column{
	table.Name,
	table.String("Handler", ""),
	table.Age,
}

func runtimeClassRow(c *nodev1.RuntimeClass, now time.Time) []any {
	return []any{c.Name, c.Handler, table.Since(c.CreationTimestamp, now)}
}

func validateRuntimeClass(c *nodev1.RuntimeClass) field.ErrorList {
	f := &rule.Faults{}
	if f.Need(field.NewPath("handler"), c.Handler) {
		f.DNSLabel(field.NewPath("handler"), c.Handler)
	}
	if c.Overhead != nil {
		podspec.Overhead(f, c.Overhead.PodFixed, field.NewPath("overhead"))
	}
	s, at := c.Scheduling, field.NewPath("scheduling")
	if s == nil {
		return f.List
	}
	f.Labels(at.Child("nodeSelector"), s.NodeSelector)
	podspec.Tolerations(f, s.Tolerations, at.Child("tolerations"))
	seen := rule.Seen[corev1.Toleration]{}
	for i, t := range s.Tolerations {
		if seen.Again(corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}) {
			f.Duplicate(at.Child("tolerations").Index(i), t)
		}
	}
	return f.List
}

func runtimeClassWarnings(c, _ *nodev1.RuntimeClass) []string {
	if c.Scheduling == nil {
		return nil
	}
	n := &rule.Notes{}
	for _, label := range slices.Sorted(maps.Keys(c.Scheduling.NodeSelector)) {
		n.NodeLabel(field.NewPath("scheduling", "nodeSelector"), label, false)
	}
	return n.List
}
