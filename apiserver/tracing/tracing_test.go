package tracing

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestSpans(t *testing.T) {
	recorded := tracetest.NewSpanRecorder()
	tracer := newTracer(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorded)))
	const theirs = "0af7651916cd43dd8448eb211c80319c"
	for _, groups := range [][]string{{user.SystemPrivilegedGroup}, {user.AllAuthenticated}} {
		r := httptest.NewRequest("GET", "/api/v1/pods?limit=1", nil)
		r.Header.Set("Traceparent", "00-"+theirs+"-b7ad6b7169203331-01")
		_, end := tracer.Start(r, "GET /api/v1/pods", &user.DefaultInfo{Groups: groups}, "id", time.Now())
		end(503)
	}
	spans := recorded.Ended()
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	if id := spans[0].SpanContext().TraceID().String(); id != theirs {
		t.Errorf("an administrator's request is in trace %s", id)
	}
	if id := spans[1].SpanContext().TraceID().String(); id == theirs || len(spans[1].Links()) != 1 {
		t.Errorf("a stranger's request is in trace %s, links %v", id, spans[1].Links())
	}
	if s := spans[0].Status().Code.String(); s != "Error" {
		t.Errorf("status %s", s)
	}
}

func TestConfiguration(t *testing.T) {
	for text, want := range map[string]string{
		"apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: localhost:4317\nsamplingRatePerMillion: 10\n": "",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nsamplingRatePerMillion: 2000000\n":                      "less than or equal to one million",
		"apiVersion: v1\nkind: Pod\n": "not a TracingConfiguration",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nnonsense: 1\n": "unknown field",
	} {
		if _, err := parse([]byte(text)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Open(context.Background(), "/nowhere", ""); err == nil {
		t.Error("a file that is not there")
	}
}

func FuzzConfiguration(f *testing.F) {
	f.Add([]byte("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parse(data) })
}
