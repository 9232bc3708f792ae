// Package tracing makes a span of each request that is sampled, and sends it to an OpenTelemetry collector.
// --tracing-config-file says where to and how many. Clients that send a W3C trace context find the server's
// part in their own trace if they may be trusted; the context of others is linked only. Webhooks and extension servers
// that a request leads to are told of its trace.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/authentication/user"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/tracing"
	tracingapi "k8s.io/component-base/tracing/api/v1"
)

// parse reads a TracingConfiguration.
func parse(data []byte) (*tracingapi.TracingConfiguration, error) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	c := &apiserver.TracingConfiguration{}
	if err := runtime.DecodeInto(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), data, c); err != nil {
		return nil, fmt.Errorf("unable to decode tracing configuration data: %w", err)
	}
	faults := tracingapi.ValidateTracingConfiguration(&c.TracingConfiguration, utilfeature.DefaultFeatureGate, nil)
	return &c.TracingConfiguration, faults.ToAggregate()
}

// A Tracer makes spans.
type Tracer struct {
	provider tracing.TracerProvider
	tracer   trace.Tracer
	context  propagation.TextMapPropagator
}

// Open reads the file and connects to the collector, when there is something to send.
func Open(ctx context.Context, file, instance string) (*Tracer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--tracing-config-file: %w", err)
	}
	c, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("--tracing-config-file %s: %w", file, err)
	}
	about := resource.WithAttributes(attribute.String("service.name", "apiserver"), attribute.String("service.instance.id", instance))
	provider, err := tracing.NewProvider(ctx, c, nil, []resource.Option{about})
	if err != nil {
		return nil, fmt.Errorf("--tracing-config-file %s: %w", file, err)
	}
	return New(provider), nil
}

// scope names who makes the spans.
const scope = "clipper/apiserver"

// New returns a Tracer whose spans go to p.
func New(p tracing.TracerProvider) *Tracer {
	return &Tracer{provider: p, tracer: p.Tracer(scope), context: tracing.Propagators()}
}

// Close sends what has not been sent yet.
func (t *Tracer) Close(ctx context.Context) error {
	err := t.provider.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the trace collector does not answer: %w", err)
	}
	return err
}

// Start begins the span of a request whose user is known. end ends it with the code of the answer.
func (t *Tracer) Start(r *http.Request, name string, u user.Info, auditID string, began time.Time) (ctx context.Context, end func(code int)) {
	ctx = t.context.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(began),
		trace.WithAttributes(attributes(r)...), trace.WithAttributes(attribute.String("audit-id", auditID)),
	}
	if remote := trace.SpanContextFromContext(ctx); !trusted(u) && remote.IsValid() {
		options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: remote}))
	}
	ctx, span := t.tracer.Start(ctx, name, options...)
	return ctx, func(code int) {
		span.SetAttributes(semconv.HTTPResponseStatusCode(code))
		if code >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// attributes say of a request what OpenTelemetry's own HTTP servers say of theirs, and its query, as upstream's do.
func attributes(r *http.Request) []attribute.KeyValue {
	host, port := address(r.Host)
	peer, peerPort := address(r.RemoteAddr)
	client := peer
	if forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ","); forwarded != "" {
		client = forwarded
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	out := []attribute.KeyValue{
		semconv.ServerAddress(host), semconv.HTTPRequestMethodKey.String(r.Method), semconv.URLScheme(scheme),
		semconv.NetworkPeerAddress(peer), semconv.NetworkPeerPort(peerPort), semconv.ClientAddress(client),
		semconv.URLPath(r.URL.Path), semconv.NetworkProtocolVersion(strings.TrimPrefix(r.Proto, "HTTP/")),
		attribute.String("http.target", r.URL.RequestURI()),
	}
	if port > 0 {
		out = append(out, semconv.ServerPort(port))
	}
	if agent := r.UserAgent(); agent != "" {
		out = append(out, semconv.UserAgentOriginal(agent))
	}
	return out
}

// address splits host:port; 0 is no port.
func address(s string) (host string, port int) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return strings.Trim(s, "[]"), 0
	}
	port, _ = strconv.Atoi(text) // a name of a port is none that anybody connects to
	return host, port
}

// trusted users decide which of their requests are sampled.
func trusted(u user.Info) bool {
	return slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) || slices.Contains(u.GetGroups(), user.MonitoringGroup)
}
