package rbac

import (
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1" // whose descriptions upstream still shows
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// roleBindings describes RoleBinding.
func roleBindings() *catalogue.Resource {
	return catalogue.Describe[rbacv1.RoleBinding, rbacv1.RoleBindingList](catalogue.Kind[*rbacv1.RoleBinding]{
		Resource:       api.RoleBindings.Resource,
		ValidateCreate: func(b *rbacv1.RoleBinding) field.ErrorList { return binding(b.RoleRef, b.Subjects, true).List },
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: func(b, old *rbacv1.RoleBinding) field.ErrorList {
			return sameRef(binding(b.RoleRef, b.Subjects, true), b.RoleRef, old.RoleRef)
		},
		Columns:        roleBindingColumns,
		Row:            roleBindingRow,
		Default:        defaultRoleBinding,
		CreateOnUpdate: true,
		ValidateName:   path.ValidatePathSegmentName,
	})
}

func defaultRoleBinding(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) }

var roleBindingColumns = slices.Concat([]table.Column{
	table.Name,
	table.String("Role", table.Doc(rbacv1beta1.RoleBinding{}, "roleRef")),
	table.Age,
}, table.Wide(
	table.String("Users", "Users in the roleBinding"),
	table.String("Groups", "Groups in the roleBinding"),
	table.String("ServiceAccounts", "ServiceAccounts in the roleBinding"),
))

func roleBindingRow(b *rbacv1.RoleBinding, now time.Time) []any {
	return bindingRow(b.Name, b.RoleRef, b.Subjects, table.Since(b.CreationTimestamp, now))
}
