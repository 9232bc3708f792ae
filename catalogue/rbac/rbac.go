// Package rbac describes the kinds of rbac.authorization.k8s.io/v1.
package rbac

import (
	"clipper/catalogue"
)

// Resources describes the kinds of the group.
func Resources() []*catalogue.Resource {
	return []*catalogue.Resource{
		clusterRoleBindings(),
		clusterRoles(),
		roleBindings(),
		roles(),
	}
}
