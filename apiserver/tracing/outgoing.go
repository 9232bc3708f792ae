package tracing

import (
	"net/http"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/component-base/tracing"
)

// Outgoing tells the servers that next reaches which trace a request belongs to, if its context has one, and makes their
// answer a span of it. Upstream does so for webhooks and extension servers.
func Outgoing(next http.RoundTripper) http.RoundTripper { return outgoing{next} }

type outgoing struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (o outgoing) RoundTrip(r *http.Request) (*http.Response, error) {
	span := trace.SpanFromContext(r.Context())
	if !span.SpanContext().IsValid() {
		return o.next.RoundTrip(r)
	}
	return tracing.WrapperFor(span.TracerProvider())(o.next).RoundTrip(r)
}

// WrappedRoundTripper is for whoever looks for the dialer below.
func (o outgoing) WrappedRoundTripper() http.RoundTripper { return o.next }
