package apiserver

import (
	"context"
	"io"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"clipper/apiserver/tracing"
)

// Where spans are made, those of a request have parts under upstream's names: what a handler does, with the steps that it
// takes as events, and the sending of its answer.

// startSpan begins the request's part of a trace.
func (q *request) startSpan() {
	if q.s.options.Tracing == nil {
		return
	}
	var ctx context.Context
	ctx, q.endSpan = q.s.options.Tracing.Start(q.r, q.spanName(), q.user, q.auditID, q.start)
	q.r = q.r.WithContext(ctx)
}

// spanName is the request's path without what differs from object to object.
func (q *request) spanName() string {
	in := &q.info
	if !in.IsResource {
		return q.r.Method
	}
	parts := []string{q.r.Method + " ", in.Prefix}
	if in.Group != "" {
		parts = append(parts, in.Group)
	}
	parts = append(parts, in.Version)
	if in.Namespace != "" {
		parts = append(parts, "namespaces/{:namespace}")
	}
	parts = append(parts, in.Resource)
	if in.Name != "" {
		parts = append(parts, "{:name}")
	}
	if in.Subresource != "" {
		parts = append(parts, in.Subresource)
	}
	return strings.Join(parts, "/")
}

// The steps of writes.
const (
	bodyRead     = "limitedReadBody succeeded"
	aboutToStore = "About to store object in database"
	stored       = "Write to database call succeeded"
	notStored    = "Write to database call failed"
)

// handlerSpans are the names of what is done for a verb.
var handlerSpans = map[string]string{
	"get": "Get", "list": "List", "create": "Create", "update": "Update", "patch": "Patch", "delete": "Delete", "deletecollection": "Delete",
}

// beginHandling begins the span of what is done for the request, if there is a name for it.
func (q *request) beginHandling() {
	in := &q.info
	name := handlerSpans[in.Verb]
	if in.Verb == "watch" && q.query().Get("sendInitialEvents") == "true" {
		name = "WatchList"
	}
	if name == "" || q.isConnect() {
		return
	}
	scope := "cluster"
	switch {
	case in.Name != "":
		scope = "resource"
	case in.Namespace != "":
		scope = "namespace"
	}
	client := ""
	if ip := utilnet.GetClientIP(q.r); ip != nil {
		client = ip.String()
	}
	ctx, part := tracing.Begin(q.r.Context(), name,
		attribute.String("accept", q.r.Header.Get("Accept")), attribute.String("audit-id", q.auditID), attribute.String("client", client),
		attribute.String("api-group", in.Group), attribute.String("api-version", in.Version), attribute.String("name", in.Name),
		attribute.String("subresource", in.Subresource), attribute.String("namespace", in.Namespace), attribute.String("protocol", q.r.Proto),
		attribute.String("resource", in.Resource), attribute.String("scope", scope), attribute.String("url", q.r.URL.Path),
		attribute.String("user-agent", q.r.UserAgent()), attribute.String("verb", in.Verb))
	q.r, q.handling = q.r.WithContext(ctx), part
}

func (q *request) endHandling() {
	if q.wrote {
		q.handling.Event("Writing http response done")
	}
	q.handling.End()
}

// convert reads a body as an object, which makes it one of the version that is asked for.
func (q *request) convert(f format, body []byte, into runtime.Object, want schema.GroupVersionKind, validation string) error {
	q.handling.Event("About to convert to expected version")
	err := q.decode(f, body, into, want, validation)
	if err == nil {
		q.handling.Event("Conversion done")
	}
	return err
}

// serializing makes what goes to out a part of the request's span, which ends with it.
func (q *request) serializing(out io.WriteCloser, contentType string, size int) io.WriteCloser {
	if q.handling == nil {
		return out
	}
	_, part := tracing.Begin(q.r.Context(), "SerializeObject",
		attribute.String("audit-id", q.auditID), attribute.String("method", q.r.Method), attribute.String("url", q.r.URL.Path),
		attribute.String("protocol", q.r.Proto), attribute.String("mediaType", contentType))
	part.Event("About to start writing response", attribute.Int("size", size))
	return &serialized{out, part}
}

type serialized struct {
	io.WriteCloser
	part *tracing.Part
}

// Close implements io.Closer.
func (s *serialized) Close() error {
	err := s.WriteCloser.Close()
	if err != nil {
		s.part.Event("Write call failed", attribute.String("err", err.Error()))
	} else {
		s.part.Event("Write call succeeded")
	}
	s.part.End()
	return err
}
