package rbac

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// clusterRoles describes ClusterRole.
func clusterRoles() *catalogue.Resource {
	return catalogue.Describe[rbacv1.ClusterRole, rbacv1.ClusterRoleList](catalogue.Kind[*rbacv1.ClusterRole]{
		Resource:       api.ClusterRoles.Resource,
		ValidateCreate: func(r *rbacv1.ClusterRole) field.ErrorList { return validateClusterRole(r, false) },
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: func(r, old *rbacv1.ClusterRole) field.ErrorList { return validateClusterRole(r, laxRole(old)) },
		Columns:        clusterRoleColumns,
		Row:            clusterRoleRow,
		CreateOnUpdate: true,
		ValidateName:   path.ValidatePathSegmentName,
	})
}

var clusterRoleColumns = []table.Column{
	table.Name,
	table.CreatedAt,
}

func clusterRoleRow(r *rbacv1.ClusterRole, _ time.Time) []any {
	return []any{r.Name, table.Created(r.CreationTimestamp)}
}
