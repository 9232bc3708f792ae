package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"clipper/api"
	"clipper/catalogue"
)

// clusterRoles describes ClusterRole.
func clusterRoles() *catalogue.Resource {
	return catalogue.Describe[rbacv1.ClusterRole, rbacv1.ClusterRoleList](catalogue.Kind[*rbacv1.ClusterRole]{
		Resource:       api.ClusterRoles.Resource,
		CreateOnUpdate: true,
		ValidateName:   path.ValidatePathSegmentName,
	})
}
