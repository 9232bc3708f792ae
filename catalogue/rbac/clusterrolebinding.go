package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// clusterRoleBindings describes ClusterRoleBinding.
func clusterRoleBindings() *catalogue.Resource {
	return catalogue.Describe[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](catalogue.Kind[*rbacv1.ClusterRoleBinding]{
		Resource:       api.ClusterRoleBindings.Resource,
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
