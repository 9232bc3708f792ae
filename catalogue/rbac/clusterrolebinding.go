package rbac

import (
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1" // whose descriptions upstream still shows
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// clusterRoleBindings describes ClusterRoleBinding.
func clusterRoleBindings() *catalogue.Resource {
	return catalogue.Describe[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](catalogue.Kind[*rbacv1.ClusterRoleBinding]{
		Resource:       api.ClusterRoleBindings.Resource,
		ValidateCreate: func(b *rbacv1.ClusterRoleBinding) field.ErrorList { return binding(b.RoleRef, b.Subjects, false).List },
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: func(b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
			return sameRef(binding(b.RoleRef, b.Subjects, false), b.RoleRef, old.RoleRef)
		},
		Columns:        clusterRoleBindingColumns,
		Row:            clusterRoleBindingRow,
		Default:        defaultClusterRoleBinding,
		CreateOnUpdate: true,
		ValidateName:   path.ValidatePathSegmentName,
	})
}

func defaultClusterRoleBinding(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) }

// defaultBinding names the API group of what a binding refers to. Service accounts are of the core group.
func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	rule.SetIfEmpty(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if k := subjects[i].Kind; k == rbacv1.UserKind || k == rbacv1.GroupKind {
			rule.SetIfEmpty(&subjects[i].APIGroup, rbacv1.GroupName)
		}
	}
}

var clusterRoleBindingColumns = slices.Concat([]table.Column{
	table.Name,
	table.String("Role", table.Doc(rbacv1beta1.ClusterRoleBinding{}, "roleRef")),
	table.Age,
}, table.Wide(
	table.String("Users", "Users in the clusterRoleBinding"),
	table.String("Groups", "Groups in the clusterRoleBinding"),
	table.String("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding"),
))

func clusterRoleBindingRow(b *rbacv1.ClusterRoleBinding, now time.Time) []any {
	return bindingRow(b.Name, b.RoleRef, b.Subjects, table.Since(b.CreationTimestamp, now))
}

func bindingRow(name string, ref rbacv1.RoleRef, subjects []rbacv1.Subject, age string) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{name, ref.Kind + "/" + ref.Name, age, strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", ")}
}
