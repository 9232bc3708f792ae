package node

import (
	nodev1 "k8s.io/api/node/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
)

// runtimeClasses describes RuntimeClass.
func runtimeClasses() *catalogue.Resource {
	return catalogue.Describe[nodev1.RuntimeClass, nodev1.RuntimeClassList](catalogue.Kind[*nodev1.RuntimeClass]{
		Resource:       api.Resource{Group: "node.k8s.io", Version: "v1", Name: "runtimeclasses", Kind: "RuntimeClass"},
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
