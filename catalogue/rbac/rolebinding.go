package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"clipper/api"
	"clipper/catalogue"
)

// roleBindings describes RoleBinding.
func roleBindings() *catalogue.Resource {
	return catalogue.Describe[rbacv1.RoleBinding, rbacv1.RoleBindingList](catalogue.Kind[*rbacv1.RoleBinding]{
		Resource:       api.RoleBindings.Resource,
		Default:        defaultRoleBinding,
		CreateOnUpdate: true,
		ValidateName:   path.ValidatePathSegmentName,
	})
}

func defaultRoleBinding(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) }
