// Package tracing makes a span of each request that is sampled, and sends it to an OpenTelemetry collector.
// --tracing-config-file says where to and how many. Clients that send a W3C trace context find the server's
// part in their own trace if they may be trusted; the context of others is linked only.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
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
	return newTracer(provider), nil
}

func newTracer(p tracing.TracerProvider) *Tracer {
	return &Tracer{provider: p, tracer: p.Tracer("clipper/apiserver"), context: tracing.Propagators()}
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
		trace.WithAttributes(attribute.String("http.method", r.Method), attribute.String("http.target", r.URL.RequestURI()), attribute.String("audit-id", auditID)),
	}
	if remote := trace.SpanContextFromContext(ctx); !trusted(u) && remote.IsValid() {
		options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: remote}))
	}
	ctx, span := t.tracer.Start(ctx, name, options...)
	return ctx, func(code int) {
		span.SetAttributes(attribute.Int("http.status_code", code))
		if code >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(code))
		}
		span.End()
	}
}

// trusted users decide which of their requests are sampled.
func trusted(u user.Info) bool {
	return slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) || slices.Contains(u.GetGroups(), user.MonitoringGroup)
}
