package apps

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// controllerRevisions describes ControllerRevision.
func controllerRevisions() *catalogue.Resource {
	return catalogue.Describe[appsv1.ControllerRevision, appsv1.ControllerRevisionList](catalogue.Kind[*appsv1.ControllerRevision]{
		Resource:       api.ControllerRevisions.Resource,
		ValidateCreate: validateRevision,
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: validateRevisionUpdate,
		Columns:        controllerRevisionColumns,
		Row:            controllerRevisionRow,
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

func validateRevision(r *appsv1.ControllerRevision) field.ErrorList {
	f := &rule.Faults{}
	f.AtLeastZero(field.NewPath("revision"), r.Revision)
	at := field.NewPath("data")
	raw := r.Data.Raw
	if raw == nil && r.Data.Object != nil {
		return f.List // decoded already, so it was an object
	}
	var v any
	if raw == nil {
		f.Required(at, "data is mandatory")
	} else if err := json.Unmarshal(raw, &v); err != nil {
		f.Invalid(at, "<value omitted>", fmt.Sprintf("error parsing data: %v", err))
	} else if v == nil {
		f.Required(at, "data is mandatory")
	} else if _, ok := v.(map[string]any); !ok {
		f.Required(at, "data must be a valid JSON object")
	}
	return f.List
}

func validateRevisionUpdate(r, old *appsv1.ControllerRevision) field.ErrorList {
	f := &rule.Faults{}
	f.AtLeastZero(field.NewPath("revision"), r.Revision)
	f.Unchanged(field.NewPath("data"), r.Data, old.Data)
	return f.List
}
