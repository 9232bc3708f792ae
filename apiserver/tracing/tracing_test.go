package tracing

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	tracingapi "k8s.io/component-base/tracing/api/v1"
)

func TestSpans(t *testing.T) {
	recorded := tracetest.NewSpanRecorder()
	tracer := New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorded)))
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

// TestAttributes: a span says of a request what upstream's say.
func TestAttributes(t *testing.T) {
	r := httptest.NewRequest("GET", "https://[::1]:6443/api/v1/pods?limit=1", nil)
	r.RemoteAddr = "192.0.2.1:40000"
	r.Header.Set("User-Agent", "kubectl/v1.36.3")
	r.Header.Set("X-Forwarded-For", "198.51.100.1, 192.0.2.9")
	got := []string{}
	for _, a := range attributes(r) {
		got = append(got, string(a.Key)+"="+a.Value.Emit())
	}
	want := []string{"server.address=::1", "http.request.method=GET", "url.scheme=https", "network.peer.address=192.0.2.1", "network.peer.port=40000",
		"client.address=198.51.100.1", "url.path=/api/v1/pods", "network.protocol.version=1.1", "http.target=/api/v1/pods?limit=1", "server.port=6443",
		"user_agent.original=kubectl/v1.36.3"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

// TestOutgoing: whom a traced request leads to is told of its trace; whom another one does is not.
func TestOutgoing(t *testing.T) {
	told := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get("Traceparent") }))
	defer server.Close()
	recorded := tracetest.NewSpanRecorder()
	tracer := New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorded)))
	ask := func(ctx context.Context) string {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: Outgoing(http.DefaultTransport)}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return <-told
	}
	if told := ask(t.Context()); told != "" {
		t.Errorf("without a trace: %s", told)
	}
	ctx, end := tracer.Start(httptest.NewRequest("POST", "/api/v1/pods", nil), "POST /api/v1/pods", &user.DefaultInfo{}, "id", time.Now())
	parent := ask(ctx)
	end(200)
	spans := recorded.Ended()
	if len(spans) != 2 || spans[0].Name() != "HTTP POST" || spans[0].Parent().SpanID() != spans[1].SpanContext().SpanID() {
		t.Fatalf("%d spans", len(spans))
	}
	if !strings.Contains(parent, spans[1].SpanContext().TraceID().String()+"-"+spans[0].SpanContext().SpanID().String()) {
		t.Errorf("they were told of %s", parent)
	}
}

func TestConfiguration(t *testing.T) {
	for text, want := range map[string]string{
		"apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: localhost:4317\nsamplingRatePerMillion: 10\n": "",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nsamplingRatePerMillion: 2000000\n":                      "less than or equal to one million",
		"apiVersion: v1\nkind: Pod\n": `no kind "Pod" is registered`,
		"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n":                         "TracingConfiguration",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nSamplingRatePerMillion: 1\n": "unknown field",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nnonsense: 1\n":               "unknown field",
	} {
		if _, err := parse([]byte(text)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Open(context.Background(), "/nowhere", ""); err == nil {
		t.Error("a file that is not there")
	}
}

// FuzzConfiguration: what is taken can be used, and is taken again as it was read.
func FuzzConfiguration(f *testing.F) {
	const header = "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n"
	for _, text := range []string{
		header, header + "endpoint: localhost:4317\nsamplingRatePerMillion: 10\n", header + "endpoint: 'https://[::1]:4317/x'\nsamplingRatePerMillion: -1\n",
		header + "endpoint: unix:///x\nmore: {}\n", "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: TracingConfiguration\nsamplingRatePerMillion: 1.5\n",
		`{"kind":"TracingConfiguration","apiVersion":"apiserver.config.k8s.io/v1alpha1","Endpoint":"x","endpoint":null}`, "a: &a [*a]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parse(data)
		if err != nil {
			return
		}
		text, err := json.Marshal(struct {
			metav1.TypeMeta                 `json:",inline"`
			tracingapi.TracingConfiguration `json:",inline"`
		}{metav1.TypeMeta{APIVersion: "apiserver.config.k8s.io/v1", Kind: "TracingConfiguration"}, *c})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(text)
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%q is %s, and that is %+v, %v", data, text, again, err)
		}
	})
}
