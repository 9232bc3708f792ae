package apiserver

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

var statusKind = schema.GroupVersionKind{Version: "v1", Kind: "Status"}

// statusOf turns any error into the Status that clients see.
func statusOf(err error) *metav1.Status {
	known, ok := err.(interface{ Status() metav1.Status })
	if !ok {
		return &metav1.Status{
			Status:  metav1.StatusFailure,
			Code:    http.StatusInternalServerError,
			Reason:  metav1.StatusReasonUnknown,
			Message: err.Error(),
		}
	}
	status := known.Status()
	if status.Status == "" {
		status.Status = metav1.StatusFailure
	}
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
		if status.Status == metav1.StatusSuccess {
			status.Code = http.StatusOK
		}
	}
	return &status
}

// fail answers with an error.
func (q *request) fail(err error) {
	if q.overdue(err) {
		q.failOverdue(err)
		return
	}
	status := statusOf(timeoutError(err))
	if status.Code >= http.StatusInternalServerError {
		q.s.log.Error("request failed", "method", q.r.Method, "path", q.r.URL.Path, "code", status.Code, "err", err)
	}
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		q.w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	m, ok := negotiate(q.r, ability{plainOnly, q.cbor()})
	if !ok {
		m = media{format: formatJSON, pretty: true}
	}
	m.target = target{}
	q.writeObject(int(status.Code), m, status, statusKind)
}

// A negotiationError says which media types there are instead of the wanted one.
type negotiationError struct {
	code   int32
	reason metav1.StatusReason
	text   string
}

func (e negotiationError) Error() string { return e.text }

func (e negotiationError) Status() metav1.Status {
	return metav1.Status{Status: metav1.StatusFailure, Code: e.code, Reason: e.reason, Message: e.text}
}

func notAcceptable(types ...string) error {
	return negotiationError{http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
		"only the following media types are accepted: " + strings.Join(types, ", ")}
}

func unsupportedMediaType(types ...string) error {
	return negotiationError{http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		"the body of the request was in an unknown format - accepted media types include: " + strings.Join(types, ", ")}
}

// Names come from outside and some clients are browsers: nothing in a refusal may look like markup.
var noMarkup = strings.NewReplacer(`&`, "&amp;", `<`, "&lt;", `>`, "&gt;")

func forbidden(a authorizer.Attributes, reason string) error {
	text := noMarkup.Replace(forbiddenText(a))
	if reason != "" {
		text += ": " + reason
	}
	gr := schema.GroupResource{Group: a.GetAPIGroup(), Resource: a.GetResource()}
	return apierrors.NewForbidden(gr, a.GetName(), fmt.Errorf("%s", text))
}

func forbiddenText(a authorizer.Attributes) string {
	name := ""
	if u := a.GetUser(); u != nil {
		name = u.GetName()
	}
	if !a.IsResourceRequest() {
		return fmt.Sprintf("User %q cannot %s path %q", name, a.GetVerb(), a.GetPath())
	}
	resource := a.GetResource()
	if sub := a.GetSubresource(); sub != "" {
		resource += "/" + sub
	}
	text := fmt.Sprintf("User %q cannot %s resource %q in API group %q", name, a.GetVerb(), resource, a.GetAPIGroup())
	if ns := a.GetNamespace(); ns != "" {
		return text + fmt.Sprintf(" in the namespace %q", ns)
	}
	return text + " at the cluster scope"
}

// recovered answers a request whose handler panicked.
func (q *request) recovered(cause any, stack []byte) {
	q.panicked(cause)
	q.s.log.Error("request handler panicked", "method", q.r.Method, "path", q.r.URL.Path, "panic", fmt.Sprint(cause), "stack", string(stack))
	if q.wrote {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	http.Error(q.w, fmt.Sprintf("This request caused apiserver to panic. Look in the logs for details. (%s)", q.auditID), http.StatusInternalServerError)
}
