// Package all links in the description of every built-in kind.
package all

import (
	"slices"
	"sync"

	"clipper/catalogue"
	"clipper/catalogue/admissionregistration"
	"clipper/catalogue/apps"
	"clipper/catalogue/authentication"
	"clipper/catalogue/authorization"
	"clipper/catalogue/autoscaling"
	"clipper/catalogue/batch"
	"clipper/catalogue/certificates"
	"clipper/catalogue/coordination"
	"clipper/catalogue/core"
	"clipper/catalogue/discovery"
	"clipper/catalogue/flowcontrol"
	"clipper/catalogue/networking"
	"clipper/catalogue/node"
	"clipper/catalogue/policy"
	"clipper/catalogue/rbac"
	"clipper/catalogue/resource"
	"clipper/catalogue/scheduling"
	"clipper/catalogue/storage"
)

// Resources returns the description of every built-in kind, the core group first, in upstream's order of
// preference. The slice and what it points to are shared and read-only.
var Resources = sync.OnceValue(func() []*catalogue.Resource {
	return slices.Concat(
		core.Resources(),
		apps.Resources(),
		authentication.Resources(),
		authorization.Resources(),
		autoscaling.Resources(),
		batch.Resources(),
		certificates.Resources(),
		networking.Resources(),
		policy.Resources(),
		rbac.Resources(),
		storage.Resources(),
		admissionregistration.Resources(),
		scheduling.Resources(),
		coordination.Resources(),
		node.Resources(),
		discovery.Resources(),
		resource.Resources(),
		flowcontrol.Resources(),
	)
})
