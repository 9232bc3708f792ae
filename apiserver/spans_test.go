package apiserver_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver"
	"clipper/apiserver/servertest"
	"clipper/apiserver/tracing"
)

// TestSpans: the parts of a request's span, and the steps that are noted in them, have upstream's names.
func TestSpans(t *testing.T) {
	recorded := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorded))
	s, err := servertest.Start(t.TempDir(), servertest.Options{Server: func(o *apiserver.Options) { o.Tracing = tracing.New(provider) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := kubernetes.NewForConfigOrDie(s.Config).CoreV1().ConfigMaps("default")
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
	ctx := t.Context()
	const answer = " | SerializeObject: About to start writing response, Write call succeeded"
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { _, err := c.Create(ctx, cm, metav1.CreateOptions{}); return err },
			"Create: limitedReadBody succeeded, About to convert to expected version, Conversion done, About to store object in database, Write to database call succeeded, About to write a response, Writing http response done" + answer},
		{func() error { _, err := c.Get(ctx, "c", metav1.GetOptions{}); return err },
			"Get: About to Get from storage, About to write a response, Writing http response done" + answer},
		{func() error { _, err := c.Update(ctx, cm, metav1.UpdateOptions{}); return err },
			"Update: limitedReadBody succeeded, About to convert to expected version, Conversion done, About to store object in database, Write to database call succeeded, About to write a response, Writing http response done" + answer},
		{func() error {
			_, err := c.Patch(ctx, "c", types.MergePatchType, []byte(`{"data":{"a":"b"}}`), metav1.PatchOptions{})
			return err
		}, "Patch: limitedReadBody succeeded, About to apply patch, Object stored in database, About to write a response, Writing http response done" + answer},
		{func() error { return c.Delete(ctx, "c", metav1.DeleteOptions{}) },
			"Delete: About to delete object from database, Object deleted from database, About to write a response, Writing http response done" + answer},
	} {
		recorded.Reset()
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := parts(t, recorded); got != step.want {
			t.Errorf("got  %s\nwant %s", got, step.want)
		}
	}
}

// parts waits for a request's own span, which ends last, and shows those within it.
func parts(t *testing.T, recorded *tracetest.SpanRecorder) string {
	t.Helper()
	whole := func(s sdktrace.ReadOnlySpan) bool { return !s.Parent().IsValid() }
	deadline := time.Now().Add(30 * time.Second)
	for !slices.ContainsFunc(recorded.Ended(), whole) {
		if time.Now().After(deadline) {
			t.Fatal("the request's span does not end")
		}
		time.Sleep(time.Millisecond)
	}
	var out []string
	spans := recorded.Ended()
	slices.SortStableFunc(spans, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	for _, s := range spans {
		if whole(s) {
			continue
		}
		var events []string
		for _, e := range s.Events() {
			events = append(events, e.Name)
		}
		out = append(out, s.Name()+": "+strings.Join(events, ", "))
	}
	return strings.Join(out, " | ")
}
