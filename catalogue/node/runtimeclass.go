package node

import (
	"time"

	nodev1 "k8s.io/api/node/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/table"
)

// runtimeClasses describes RuntimeClass.
func runtimeClasses() *catalogue.Resource {
	return catalogue.Describe[nodev1.RuntimeClass, nodev1.RuntimeClassList](catalogue.Kind[*nodev1.RuntimeClass]{
		Resource:       api.Resource{Group: "node.k8s.io", Version: "v1", Name: "runtimeclasses", Kind: "RuntimeClass"},
		Columns:        runtimeClassColumns,
		Row:            runtimeClassRow,
		Default:        defaultRuntimeClass,
		CreateOnUpdate: true,
		NeedsRevision:  true,
	})
}

func defaultRuntimeClass(c *nodev1.RuntimeClass) {
	if c.Overhead != nil {
		podspec.RoundUp(c.Overhead.PodFixed)
	}
}

var runtimeClassColumns = []table.Column{
	table.Name,
	table.String("Handler", ""),
	table.Age,
}

func runtimeClassRow(c *nodev1.RuntimeClass, now time.Time) []any {
	return []any{c.Name, c.Handler, table.Since(c.CreationTimestamp, now)}
}
