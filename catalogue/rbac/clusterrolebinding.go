package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"clipper/api"
	"clipper/catalogue"
)

// clusterRoleBindings describes ClusterRoleBinding.
func clusterRoleBindings() *catalogue.Resource {
	return catalogue.Describe[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](catalogue.Kind[*rbacv1.ClusterRoleBinding]{
		Resource:       api.ClusterRoleBindings.Resource,
		CreateOnUpdate: true,
		ValidateName:   path.ValidatePathSegmentName,
	})
}
