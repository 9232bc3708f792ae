package core

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	eventsv1 "clipper/catalogue/events"
	"clipper/catalogue/table"
)

// events describes Event.
func events() *catalogue.Resource {
	return catalogue.Describe[corev1.Event, corev1.EventList](catalogue.Kind[*corev1.Event]{
		Resource:       api.CoreEvents.Resource,
		ValidateCreate: func(e *corev1.Event) field.ErrorList { return eventsv1.ValidateAny(e, "reportingComponent") },
		ValidateUpdate: func(e, _ *corev1.Event) field.ErrorList { return eventsv1.ValidateAny(e, "reportingComponent") },
		ValidateName:   path.ValidatePathSegmentName,
		AnyFinalizers:  true,
		MetadataLast:   true,
		Also:           []catalogue.Version{eventsv1.Version()},
		Propagation:    catalogue.NoDependents,
		Columns:        eventColumns,
		Row:            eventRow,
		ShortNames:     []string{"ev"}, CreateOnUpdate: true,
		Fields: eventFields,
	})
}

var eventFields = map[string]func(*corev1.Event) string{
	"involvedObject.kind":            func(e *corev1.Event) string { return e.InvolvedObject.Kind },
	"involvedObject.namespace":       func(e *corev1.Event) string { return e.InvolvedObject.Namespace },
	"involvedObject.name":            func(e *corev1.Event) string { return e.InvolvedObject.Name },
	"involvedObject.uid":             func(e *corev1.Event) string { return string(e.InvolvedObject.UID) },
	"involvedObject.apiVersion":      func(e *corev1.Event) string { return e.InvolvedObject.APIVersion },
	"involvedObject.resourceVersion": func(e *corev1.Event) string { return e.InvolvedObject.ResourceVersion },
	"involvedObject.fieldPath":       func(e *corev1.Event) string { return e.InvolvedObject.FieldPath },
	"reason":                         func(e *corev1.Event) string { return e.Reason },
	"reportingComponent":             func(e *corev1.Event) string { return e.ReportingController },
	"type":                           func(e *corev1.Event) string { return e.Type },
	"source": func(e *corev1.Event) string {
		if e.Source.Component != "" {
			return e.Source.Component
		}
		return e.ReportingController
	},
}

var eventColumns = []table.Column{
	table.String("Last Seen", table.Doc(corev1.Event{}, "lastTimestamp")),
	table.String("Type", table.Doc(corev1.Event{}, "type")),
	table.String("Reason", table.Doc(corev1.Event{}, "reason")),
	table.String("Object", table.Doc(corev1.Event{}, "involvedObject")),
	wide(table.String("Subobject", table.Doc(corev1.ObjectReference{}, "fieldPath"))),
	wide(table.String("Source", table.Doc(corev1.Event{}, "source"))),
	table.String("Message", table.Doc(corev1.Event{}, "message")),
	wide(table.String("First Seen", table.Doc(corev1.Event{}, "firstTimestamp"))),
	wide(table.String("Count", table.Doc(corev1.Event{}, "count"))),
	wide(table.Name),
}

func wide(c table.Column) table.Column { return table.Wide(c)[0] }

// eventRow reads both shapes of event: the older with first and last times, the newer with a series.
func eventRow(e *corev1.Event, now time.Time) []any {
	first := table.Since(e.FirstTimestamp, now)
	if e.FirstTimestamp.IsZero() {
		first = table.SinceMicro(e.EventTime, now)
	}
	last := table.Since(e.LastTimestamp, now)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := e.Count
	if count == 0 {
		count = 1 // of those who do not count
	}
	if e.Series != nil {
		last, count = table.SinceMicro(e.Series.LastObservedTime, now), e.Series.Count
	}
	target := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		target += "/" + e.InvolvedObject.Name
	}
	source := table.Or(e.Source.Component, e.ReportingController)
	if instance := table.Or(e.Source.Host, e.ReportingInstance); instance != "" {
		source += ", " + instance
	}
	return []any{
		last, e.Type, e.Reason, target, e.InvolvedObject.FieldPath, source, strings.TrimSpace(e.Message), first, int64(count), e.Name,
	}
}
