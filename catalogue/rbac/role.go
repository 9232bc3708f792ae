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

// roles describes Role.
func roles() *catalogue.Resource {
	return catalogue.Describe[rbacv1.Role, rbacv1.RoleList](catalogue.Kind[*rbacv1.Role]{
		Resource:       api.Roles.Resource,
		ValidateCreate: validateRole,
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: func(r, _ *rbacv1.Role) field.ErrorList { return validateRole(r) },
		Columns:        roleColumns,
		Row:            roleRow,
		CreateOnUpdate: true,
		ValidateName:   path.ValidatePathSegmentName,
	})
}

var roleColumns = []table.Column{
	table.Name,
	table.CreatedAt,
}

func roleRow(r *rbacv1.Role, _ time.Time) []any {
	return []any{r.Name, table.Created(r.CreationTimestamp)}
}
