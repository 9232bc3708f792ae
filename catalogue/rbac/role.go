package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"clipper/api"
	"clipper/catalogue"
)

// roles describes Role.
func roles() *catalogue.Resource {
	return catalogue.Describe[rbacv1.Role, rbacv1.RoleList](catalogue.Kind[*rbacv1.Role]{
		Resource:       api.Roles.Resource,
		CreateOnUpdate: true,
		ValidateName:   path.ValidatePathSegmentName,
	})
}
