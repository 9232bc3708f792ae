package core

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	eventsv1 "clipper/catalogue/events"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// events describes Event.
func events() *catalogue.Resource {
	return catalogue.Describe[corev1.Event, corev1.EventList](catalogue.Kind[*corev1.Event]{
		Resource:       api.CoreEvents.Resource,
		ValidateCreate: validateEvent,
		ValidateUpdate: func(e, _ *corev1.Event) field.ErrorList { return validateEvent(e) },
		Also:           []catalogue.Version{eventsv1.Version()},
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
	count := max(e.Count, 1)
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

// validateEvent checks an event of either shape; only the newer one, with an event time, has strict rules.
func validateEvent(e *corev1.Event) field.ErrorList {
	f := &rule.Faults{}
	about := field.NewPath("involvedObject", "namespace")
	ns := e.InvolvedObject.Namespace
	if e.EventTime.IsZero() {
		if ns != e.Namespace && (ns != "" || e.Namespace != metav1.NamespaceDefault) {
			f.Invalid(about, ns, "does not match event.namespace")
		}
	} else {
		if ns == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
			f.Invalid(about, ns, "does not match event.namespace")
		}
		if f.Need(field.NewPath("reportingController"), e.ReportingController) {
			f.QualifiedName(field.NewPath("reportingController"), e.ReportingController)
		}
		bounded(f, "reportingInstance", e.ReportingInstance, 128)
		bounded(f, "action", e.Action, 128)
		bounded(f, "reason", e.Reason, 128)
		if len(e.Message) > 1024 {
			f.Invalid(field.NewPath("message"), "", "can have at most 1024 characters")
		}
	}
	f.DNSSubdomain(field.NewPath("namespace"), e.Namespace)
	return f.List
}

func bounded(f *rule.Faults, name, value string, limit int) {
	f.Need(field.NewPath(name), value)
	if len(value) > limit {
		f.Invalid(field.NewPath(name), "", fmt.Sprintf("can have at most %d characters", limit))
	}
}
