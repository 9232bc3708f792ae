package apiserver

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/apiserver/fairness"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/served"
	"clipper/apiserver/tracing"
)

// A request is one HTTP request on its way through the server.
type request struct {
	s          *Server
	w          http.ResponseWriter
	r          *http.Request
	info       info
	user       user.Info
	constraint string       // the verb that let one user be another; "" for the old way, and for most requests
	kind       *served.Kind // nil for paths outside the API

	start time.Time
	limit time.Duration // that the client asked for; 0: none
	long  bool          // lasts for as long as the client likes
	seat  fairness.Ticket
	leave func() // gives back the place that a request has without fairness
	// inLane: it holds one of the lanes for long lists.
	inLane bool

	// Of inflight, and guarded by it.
	prev, next *request
	end        context.CancelFunc // of a watch, if the server gives it time to end
	cut        atomic.Bool        // its time is up: to be set by inflight alone
	writing    atomic.Int64       // nanoseconds since 1970 when a write began that is not over

	record   *audit.AuditContext // nil: nothing is recorded
	endSpan  func(code int)      // nil: no spans are made
	handling *tracing.Part       // the span of what a handler does; nil: there is none
	auditID  string
	code     int // answered with; 0: not yet
	size     int // of the answer's body
	traffic  traffic
	wrote    bool
	routed   bool // somebody has looked what the request is about
	values   url.Values
	warnings warnings
	parent   pipeline.Request

	answer     media // the form of the answer, once it is negotiated
	negotiated int
}

func (q *request) query() url.Values {
	if q.values == nil {
		if q.r.URL.RawQuery == "" {
			return nil
		}
		q.values = q.r.URL.Query()
	}
	return q.values
}

// pipelineRequest is what the pipeline is told about this request.
func (q *request) pipelineRequest() *pipeline.Request {
	q.parent = pipeline.Request{
		Resource:        q.kind.Resource,
		Subresource:     q.info.Subresource,
		Namespace:       q.namespace(),
		Name:            q.info.Name,
		User:            q.user,
		Manager:         managerOf(q.r.UserAgent()),
		Warn:            q.warn,
		Kind:            q.kind,
		AuthorizeCreate: q.authorizeCreate,
	}
	return &q.parent
}

// namespace is where the request's objects are. A path below /namespaces/NAME that is about the namespace
// itself names it as namespace too; that one is cluster-scoped.
func (q *request) namespace() string {
	if !q.kind.Namespaced {
		return ""
	}
	return q.info.Namespace
}

// managerOf makes a field manager's name from a user agent: what precedes the first slash, printable.
func managerOf(agent string) string {
	first, _, _ := strings.Cut(agent, "/")
	if len(first) <= validation.FieldManagerMaxLength && isPrintable(first) {
		return first
	}
	var b strings.Builder
	for _, r := range first {
		if !unicode.IsPrint(r) {
			continue
		}
		if b.Len()+utf8.RuneLen(r) > validation.FieldManagerMaxLength {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

func isPrintable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// attributes is what authorization is asked about.
func (q *request) attributes() *authorizer.AttributesRecord {
	in := &q.info
	a := &authorizer.AttributesRecord{
		User:            q.user,
		Verb:            in.Verb,
		Namespace:       in.Namespace,
		APIGroup:        in.Group,
		APIVersion:      in.Version,
		Resource:        in.Resource,
		Subresource:     in.Subresource,
		Name:            in.Name,
		ResourceRequest: in.IsResource,
		Path:            in.Path,
	}
	if in.IsResource && q.r.URL.RawQuery != "" {
		q.selectorAttributes(a)
	}
	return a
}

func (q *request) authorizeCreate(ctx context.Context) error {
	a := q.attributes()
	a.Verb = "create"
	return q.s.authorize(ctx, a)
}
