package customresource

import (
	"bytes"
	"fmt"
	"reflect"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/util/jsonpath"

	"clipper/api"
)

// ageColumn is what kinds without columns of their own show beside the name.
var ageColumn = apiextensionsv1.CustomResourceColumnDefinition{
	Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
}

// table returns how a version's objects are printed.
func (v *version) table() ([]metav1.TableColumnDefinition, func(api.Object, time.Time) []any) {
	columns := []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
	}
	wanted := v.spec.AdditionalPrinterColumns
	if len(wanted) == 0 {
		wanted = []apiextensionsv1.CustomResourceColumnDefinition{ageColumn}
	}
	var cells []cell
	for _, w := range wanted {
		path := jsonpath.New(w.Name).AllowMissingKeys(true)
		if err := path.Parse("{" + w.JSONPath + "}"); err != nil {
			continue // validation refuses such definitions; an old one must not hide the rest
		}
		doc := w.Description
		if doc == "" {
			doc = fmt.Sprintf("Custom resource definition column (in JSONPath format): %s", w.JSONPath)
		}
		columns = append(columns, metav1.TableColumnDefinition{Name: w.Name, Type: w.Type, Format: w.Format, Description: doc, Priority: w.Priority})
		cells = append(cells, cell{path, w.Type})
	}
	return columns, func(o api.Object, now time.Time) []any {
		row := make([]any, 1, 1+len(cells))
		row[0] = o.GetName()
		for _, c := range cells {
			row = append(row, c.of(content(o), now))
		}
		return row
	}
}

type cell struct {
	path *jsonpath.JSONPath
	kind string
}

// of returns the cell's value in o; nil if there is none.
func (c cell) of(o map[string]any, now time.Time) any {
	found, err := c.path.FindResults(o)
	if err != nil || len(found) == 0 || len(found[0]) == 0 {
		return nil
	}
	value := found[0][0].Interface()
	if c.kind == "string" {
		var text bytes.Buffer
		if err := c.path.PrintResults(&text, []reflect.Value{reflect.ValueOf(value)}); err != nil {
			return nil
		}
		return text.String()
	}
	return typedCell(value, c.kind, now)
}

func typedCell(value any, kind string, now time.Time) any {
	switch kind {
	case "integer":
		switch n := value.(type) {
		case int64:
			return n
		case float64:
			return int64(n)
		}
	case "number":
		switch n := value.(type) {
		case int64:
			return float64(n)
		case float64:
			return n
		}
	case "boolean":
		if b, ok := value.(bool); ok {
			return b
		}
	case "date":
		if text, ok := value.(string); ok {
			return age(text, now)
		}
	}
	return nil
}

// age shows how long ago a time was that an object has as text, which may be empty.
func age(text string, now time.Time) string {
	var at metav1.Time
	if err := at.UnmarshalQueryParameter(text); err != nil {
		return "<invalid>"
	}
	if at.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(at.Time))
}
