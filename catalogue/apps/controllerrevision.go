package apps

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// controllerRevisions describes ControllerRevision.
func controllerRevisions() *catalogue.Resource {
	return catalogue.Describe[appsv1.ControllerRevision, appsv1.ControllerRevisionList](catalogue.Kind[*appsv1.ControllerRevision]{
		Resource: api.ControllerRevisions.Resource,
		Columns:  controllerRevisionColumns,
		Row:      controllerRevisionRow,
	})
}

var controllerRevisionColumns = []table.Column{
	table.Name,
	table.String("Controller", "Controller of the object"),
	table.String("Revision", table.Doc(appsv1.ControllerRevision{}, "revision")),
	table.Age,
}

func controllerRevisionRow(r *appsv1.ControllerRevision, now time.Time) []any {
	owner := table.None
	if ref := metav1.GetControllerOfNoCopy(r); ref != nil {
		gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
		owner = strings.ToLower(gk.String()) + "/" + ref.Name
	}
	return []any{r.Name, owner, r.Revision, table.Since(r.CreationTimestamp, now)}
}
