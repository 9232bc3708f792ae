// Package table holds what the descriptions of kinds share when they say how `kubectl get` shows an
// object: column definitions and the printed forms of times, labels and selectors.
package table

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/duration"
)

// What upstream prints for an absent value and for a time that was never set.
const (
	None    = "<none>"
	Unset   = "<unset>"
	Unknown = "<unknown>"
)

// A Column is one column of a table.
type Column = metav1.TableColumnDefinition

var metaDocs = metav1.ObjectMeta{}.SwaggerDoc()

// Columns that nearly every kind has.
var (
	Name = Column{Name: "Name", Type: "string", Format: "name", Description: metaDocs["name"]}
	Age  = Column{Name: "Age", Type: "string", Description: metaDocs["creationTimestamp"]}
)

// String is a column of text.
func String(name, description string) Column {
	return Column{Name: name, Type: "string", Description: description}
}

// Integer is a column of whole numbers.
func Integer(name, description string) Column {
	return Column{Name: name, Type: "integer", Description: description}
}

// Boolean is a column of truth values.
func Boolean(name, description string) Column {
	return Column{Name: name, Type: "boolean", Description: description}
}

// Wide returns columns as only `-o wide` shows them.
func Wide(columns ...Column) []Column {
	for i := range columns {
		columns[i].Priority = 1
	}
	return columns
}

// Since prints how long before now t was: "5m3s".
func Since(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return Unknown
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// SinceMicro is Since for times with microseconds.
func SinceMicro(t metav1.MicroTime, now time.Time) string {
	return Since(metav1.Time{Time: t.Time}, now)
}

// Labels prints a set of labels: "a=1,b=2".
func Labels(set map[string]string) string {
	if len(set) == 0 {
		return None
	}
	return labels.FormatLabels(set)
}

// Selector prints a label selector.
func Selector(s *metav1.LabelSelector) string { return metav1.FormatLabelSelector(s) }

// Or prints s, or otherwise where s is empty.
func Or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// OrNone prints what p points to, or None.
func OrNone[T any](p *T) string {
	if p == nil {
		return None
	}
	return fmt.Sprint(*p)
}

// OrUnset prints what p points to, or Unset.
func OrUnset[T any](p *T) string {
	if p == nil {
		return Unset
	}
	return fmt.Sprint(*p)
}

// A documented type explains its fields; those of k8s.io/api do.
type documented interface{ SwaggerDoc() map[string]string }

// Doc is the description of a field in the API's documentation.
func Doc(of documented, field string) string { return of.SwaggerDoc()[field] }

// FirstOf prints the first three of list, and how many more there are of count.
func FirstOf(list []string, count int) string {
	const shown = 3
	if len(list) > shown {
		list = list[:shown]
	}
	text := strings.Join(list, ",")
	switch {
	case count > shown:
		return fmt.Sprintf("%s + %d more...", text, count-shown)
	case text == "":
		return Unset
	}
	return text
}

// CreatedAt is the second column of kinds for which upstream has nothing better to show.
var CreatedAt = Column{Name: "Created At", Type: "date", Description: metaDocs["creationTimestamp"]}

// Created prints the cell of CreatedAt.
func Created(t metav1.Time) string { return t.UTC().Format(time.RFC3339) }
