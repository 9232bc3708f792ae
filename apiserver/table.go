package apiserver

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/catalogue/table"
)

// defaultColumns are those of a kind that describes none.
var defaultColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
	{Name: "Created At", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
}

func defaultRow(obj api.Object, _ time.Time) []any {
	return []any{obj.GetName(), obj.GetCreationTimestamp().Time.UTC().Format(time.RFC3339)}
}

// include says how much of its object each row of a table carries.
func (q *request) include() (metav1.IncludeObjectPolicy, error) {
	if q.r.URL.RawQuery == "" {
		return "", nil
	}
	o := metav1.TableOptions{IncludeObject: metav1.IncludeObjectPolicy(q.query().Get("includeObject"))}
	if faults := validation.ValidateTableOptions(&o); len(faults) > 0 {
		return "", apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", faults[0]))
	}
	return o.IncludeObject, nil
}

// table makes the Table that kubectl prints.
func (q *request) table(m media, objs []api.Object, meta metav1.ListMeta, headers bool) (*metav1.Table, error) {
	include, err := q.include()
	if err != nil {
		return nil, err
	}
	gv := schema.GroupVersion{Group: metav1.GroupName, Version: m.target.version}
	t := &metav1.Table{ListMeta: meta, Rows: make([]metav1.TableRow, len(objs))}
	if len(objs) == 0 && q.kind.Row == nil && q.kind.Custom == nil { // upstream's tables of kinds without columns of their own
		t.Rows = nil
	}
	t.SetGroupVersionKind(gv.WithKind("Table"))
	columns, row := q.columns()
	if headers {
		t.ColumnDefinitions = columns
	}
	if order := q.kind.RowOrder; order != nil {
		objs = slices.SortedStableFunc(slices.Values(objs), order)
	}
	now := time.Now()
	for i, obj := range objs {
		t.Rows[i].Cells = row(obj, now)
		if q.kind.RowConditions != nil && q.info.Subresource != "scale" {
			t.Rows[i].Conditions = q.kind.RowConditions(obj)
		}
		object, err := q.rowObject(obj, include, gv)
		if err != nil {
			return nil, err
		}
		t.Rows[i].Object.Object = object
	}
	return t, nil
}

// columns are those of the request's kind or of its scale.
func (q *request) columns() ([]metav1.TableColumnDefinition, func(api.Object, time.Time) []any) {
	switch {
	case q.info.Subresource == "scale":
		return scaleColumns, scaleRow
	case q.kind.Columns == nil || q.kind.Row == nil:
		return defaultColumns, defaultRow
	}
	return q.kind.Columns, q.kind.Row
}

var scaleColumns = []metav1.TableColumnDefinition{
	table.String("Name", table.Name.Description),
	table.Integer("Desired", autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"]),
	table.Integer("Available", autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"]),
	table.Age,
}

func scaleRow(obj api.Object, now time.Time) []any {
	s := obj.(*autoscalingv1.Scale)
	return []any{s.Name, int64(s.Spec.Replicas), int64(s.Status.Replicas), table.Since(s.CreationTimestamp, now)}
}

func (q *request) rowObject(obj api.Object, include metav1.IncludeObjectPolicy, gv schema.GroupVersion) (runtime.Object, error) {
	switch {
	case include == metav1.IncludeNone && obj.GetAnnotations()[initialEnd] == "": // the end of initial events must be seen
		return nil, nil
	case include == metav1.IncludeObject && q.info.Subresource == "scale":
		c := obj.DeepCopyObject()
		c.GetObjectKind().SetGroupVersionKind(scaleKind)
		return c, nil
	case include == metav1.IncludeObject:
		versioned, err := q.kind.FromHub(obj)
		if err != nil {
			return nil, err
		}
		c := versioned.DeepCopyObject()
		c.GetObjectKind().SetGroupVersionKind(q.kind.GVK)
		return c, nil
	}
	return q.partial(obj, gv), nil
}

func notAcceptableText(format string, args ...any) error {
	return negotiationError{http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, fmt.Sprintf(format, args...)}
}
