// Package core describes the kinds of the core group, v1. Kinds with much to say have a package of their
// own below this one; package podspec, there too, is what every kind with a pod template shares.
package core

import (
	"clipper/catalogue"
	"clipper/catalogue/core/node"
	"clipper/catalogue/core/pod"
	"clipper/catalogue/core/service"
	"clipper/catalogue/core/volume"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		bindings(),
		componentStatuses(),
		configMaps(),
		endpoints(),
		events(),
		limitRanges(),
		namespaces(),
		node.Resource(),
		volume.Claims(),
		volume.Volumes(),
		pod.Resource(),
		podTemplates(),
		replicationControllers(),
		resourceQuotas(),
		secrets(),
		serviceAccounts(),
		service.Resource(),
	}
}
