package apiserver

import (
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
)

// defaultColumns are those of a kind that describes none.
var defaultColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
	{Name: "Created At", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
}

func defaultRow(obj api.Object, _ time.Time) []any {
	return []any{obj.GetName(), obj.GetCreationTimestamp().Time.UTC().Format(time.RFC3339)}
}

// table makes the Table that kubectl prints.
func (q *request) table(m media, objs []api.Object, meta metav1.ListMeta, headers bool) (*metav1.Table, error) {
	include := metav1.IncludeObjectPolicy(q.query().Get("includeObject"))
	switch include {
	case "", metav1.IncludeMetadata, metav1.IncludeObject, metav1.IncludeNone:
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: includeObject: Unsupported value: %q: supported values: \"Metadata\", \"None\", \"Object\"", include))
	}
	gv := schema.GroupVersion{Group: metav1.GroupName, Version: m.target.version}
	t := &metav1.Table{ListMeta: meta, Rows: make([]metav1.TableRow, len(objs))}
	t.SetGroupVersionKind(gv.WithKind("Table"))
	columns, row := q.kind.Columns, q.kind.Row
	if c := q.kind.Custom; c != nil {
		columns, row = c.Columns[q.kind.GVK.Version], c.Row[q.kind.GVK.Version]
	}
	if columns == nil || row == nil {
		columns, row = defaultColumns, defaultRow
	}
	if headers {
		t.ColumnDefinitions = columns
	}
	now := time.Now()
	for i, obj := range objs {
		t.Rows[i].Cells = row(obj, now)
		if q.kind.RowConditions != nil {
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

func (q *request) rowObject(obj api.Object, include metav1.IncludeObjectPolicy, gv schema.GroupVersion) (runtime.Object, error) {
	switch include {
	case metav1.IncludeNone:
		return nil, nil
	case metav1.IncludeObject:
		versioned, err := q.kind.FromHub(obj)
		if err != nil {
			return nil, err
		}
		c := versioned.DeepCopyObject()
		c.GetObjectKind().SetGroupVersionKind(q.kind.GVK)
		return c, nil
	}
	return partial(obj, gv), nil
}

func notAcceptableText(format string, args ...any) error {
	return negotiationError{http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, fmt.Sprintf(format, args...)}
}
