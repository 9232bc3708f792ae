package events

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// ValidateAny checks what either group asks of an event. Only the newer shape, which has an event time, has
// strict rules. reporter is what the group calls the field that says who reports.
func ValidateAny(e *corev1.Event, reporter string) field.ErrorList {
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
		f.Need(field.NewPath(reporter), e.ReportingController)
		f.QualifiedName(field.NewPath(reporter), e.ReportingController)
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

// validateCreate checks an event written through events.k8s.io, which takes the newer shape only.
func validateCreate(e *corev1.Event) field.ErrorList {
	f := &rule.Faults{List: ValidateAny(e, "reportingController")}
	f.Add(catalogue.NewMetadataFaults(e, true, validation.NameIsDNSSubdomain)...)
	series(f, e.Series)
	if e.EventTime.IsZero() {
		f.Required(field.NewPath("eventTime"), "")
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		f.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", e.Type))
	}
	unset := func(name string, set bool) {
		if set {
			f.Invalid(field.NewPath(name), "", "needs to be unset")
		}
	}
	unset("firstTimestamp", !e.FirstTimestamp.IsZero())
	unset("lastTimestamp", !e.LastTimestamp.IsZero())
	unset("count", e.Count != 0)
	unset("source", e.Source != corev1.EventSource{})
	return f.List
}

func series(f *rule.Faults, s *corev1.EventSeries) {
	if s == nil {
		return
	}
	if s.Count < 2 {
		f.Invalid(field.NewPath("series.count"), "", "should be at least 2")
	}
	if s.LastObservedTime.IsZero() {
		f.Required(field.NewPath("series.lastObservedTime"), "")
	}
}

// validateUpdate: through events.k8s.io nothing but the series may change.
func validateUpdate(e, old *corev1.Event) field.ErrorList {
	f := &rule.Faults{List: ValidateAny(e, "reportingController")}
	if !equality.Semantic.DeepEqual(e.Series, old.Series) {
		series(f, e.Series)
	}
	same := func(name string, is, was any) { f.Unchanged(field.NewPath(name), is, was) }
	same("involvedObject", e.InvolvedObject, old.InvolvedObject)
	same("reason", e.Reason, old.Reason)
	same("message", e.Message, old.Message)
	same("source", e.Source, old.Source)
	same("firstTimestamp", e.FirstTimestamp, old.FirstTimestamp)
	same("lastTimestamp", e.LastTimestamp, old.LastTimestamp)
	same("count", e.Count, old.Count)
	same("type", e.Type, old.Type)
	// Clients that wrote nanoseconds by mistake may send back what they got, which has none.
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		same("eventTime", e.EventTime, old.EventTime)
	}
	same("action", e.Action, old.Action)
	same("related", e.Related, old.Related)
	same("reportingController", e.ReportingController, old.ReportingController)
	same("reportingInstance", e.ReportingInstance, old.ReportingInstance)
	return f.List
}
