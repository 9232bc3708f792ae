package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// A Part is a span within a request's. Nil is none, and takes no events.
type Part struct{ span trace.Span }

// Begin begins a part of the span that ctx has. If that is not sampled there is no part, and ctx comes back.
func Begin(ctx context.Context, name string, about ...attribute.KeyValue) (context.Context, *Part) {
	whole := trace.SpanFromContext(ctx)
	if !whole.IsRecording() {
		return ctx, nil
	}
	ctx, span := whole.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithAttributes(about...))
	return ctx, &Part{span}
}

// Event notes that something happened.
func (p *Part) Event(name string, about ...attribute.KeyValue) {
	if p != nil {
		p.span.AddEvent(name, trace.WithAttributes(about...))
	}
}

// End ends the part.
func (p *Part) End() {
	if p != nil {
		p.span.End()
	}
}
