package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-base/metrics/legacyregistry"
)

// A sink is the server that events are sent to.
type sink struct {
	*httptest.Server
	mu     sync.Mutex
	codes  []int // of the next answers; 200 when there are no more
	hold   chan struct{}
	events []auditv1.Event
	at     []time.Time // of requests
	sizes  []int       // of batches
}

func newSink(t *testing.T, codes ...int) *sink {
	s := &sink{codes: codes}
	s.Server = httptest.NewServer(http.HandlerFunc(s.take))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	var list auditv1.EventList
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil || list.Kind != "EventList" {
		http.Error(w, fmt.Sprint("not an EventList: ", err), http.StatusBadRequest)
		return
	}
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-r.Context().Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	code := http.StatusOK
	if len(s.codes) > 0 {
		code, s.codes = s.codes[0], s.codes[1:]
	}
	w.WriteHeader(code)
	if code == http.StatusOK {
		s.events, s.sizes = append(s.events, list.Items...), append(s.sizes, len(list.Items))
	}
}

// ids are the requests whose events have arrived.
func (s *sink) ids() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, e := range s.events {
		out = append(out, string(e.AuditID))
	}
	return strings.Join(out, " ")
}

// newWebhook returns an Auditor whose events go to s, each request's when it has come.
func newWebhook(t *testing.T, url string, change func(*WebhookOptions)) *Auditor {
	t.Helper()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	o := DefaultOptions()
	o.PolicyFile = file("policy", `{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Request"}]}`)
	o.Webhook.ConfigFile = file("config", `{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"s","cluster":{"server":"`+url+`"}}],
		"users":[{"name":"u","user":{}}],"contexts":[{"name":"c","context":{"cluster":"s","user":"u"}}]}`)
	o.Webhook.InitialBackoff = time.Millisecond
	o.Webhook.Batch.Config.MaxBatchWait = 10 * time.Millisecond
	change(&o.Webhook)
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// request records that a request has come, with an object of some size, and says whether it may go on.
func request(t *testing.T, a *Auditor, id string, size int) bool {
	t.Helper()
	attributes := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "u"}, Verb: "create", Resource: "configmaps", APIVersion: "v1", ResourceRequest: true, Path: "/x"}
	ctx, record, ok := a.Begin(t.Context(), attributes)
	if !ok {
		t.Fatal("not recorded")
	}
	audit.WithAuditID(ctx, types.UID(id))
	record.LogRequestPatch([]byte(`{"data":"` + strings.Repeat("x", size) + `"}`))
	return record.ProcessEventStage(ctx, auditinternal.StageRequestReceived)
}

// failed is how many events a plug-in has failed to hand on.
func failed(t *testing.T, plugin string) (n float64) {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "apiserver_audit_error_total" {
			continue
		}
		for _, m := range f.Metric {
			if m.Label[0].GetValue() == plugin {
				n += m.Counter.GetValue()
			}
		}
	}
	return n
}

// TestWebhookModes: in which mode requests wait for the sink, and in which they fail with it.
func TestWebhookModes(t *testing.T) {
	dead := make([]int, 100)
	for i := range dead {
		dead[i] = http.StatusInternalServerError
	}
	for _, tt := range []struct {
		mode    string
		answers []int
		passes  bool
		arrives bool
		atOnce  bool // it has arrived when the request goes on
		errors  float64
	}{
		{mode: ModeBlocking, passes: true, arrives: true, atOnce: true},
		{mode: ModeBlockingStrict, passes: true, arrives: true, atOnce: true},
		{mode: ModeBatch, passes: true, arrives: true},
		{mode: ModeBlocking, answers: []int{500, 503}, passes: true, arrives: true, atOnce: true}, // tried again
		{mode: ModeBlocking, answers: []int{400}, passes: true, arrives: true, atOnce: true},      // whatever the answer
		{mode: ModeBlocking, answers: dead, passes: true, errors: 1},
		{mode: ModeBlockingStrict, answers: dead, errors: 1},
		{mode: ModeBatch, answers: dead, passes: true, errors: 1},
	} {
		t.Run(fmt.Sprint(tt.mode, " ", len(tt.answers)), func(t *testing.T) {
			s := newSink(t, tt.answers...)
			a := newWebhook(t, s.URL, func(o *WebhookOptions) { o.Batch.Mode = tt.mode })
			before := failed(t, "webhook")
			err := a.While(func() error {
				if passes := request(t, a, "one", 1); passes != tt.passes {
					t.Errorf("the request passes: %v", passes)
				}
				if tt.atOnce && s.ids() != "one" {
					t.Error("the request went on before its event had arrived")
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if arrived := s.ids() == "one"; arrived != tt.arrives {
				t.Errorf("arrived: %q", s.ids())
			}
			if n := failed(t, "webhook") - before; n != tt.errors {
				t.Errorf("apiserver_audit_error_total grew by %v, want %v", n, tt.errors)
			}
		})
	}
}

// TestWebhookSlow: a sink that does not answer holds up nobody, and costs no more than the buffer; the rest is counted.
func TestWebhookSlow(t *testing.T) {
	s := newSink(t)
	s.hold = make(chan struct{})
	const room, sent = 5, 50
	a := newWebhook(t, s.URL, func(o *WebhookOptions) {
		o.Batch.Config.BufferSize, o.Batch.Config.MaxBatchSize, o.Batch.Config.AsyncDelegate = room, 1, false
	})
	before := failed(t, "buffered")
	err := a.While(func() error {
		begun := time.Now()
		for i := range sent {
			if !request(t, a, fmt.Sprint(i), 1) {
				t.Error("a request failed")
			}
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("the requests waited %v", took)
		}
		lost := failed(t, "buffered") - before
		if lost < sent-room-2 { // one is being sent, one may have been taken
			t.Errorf("%v events were dropped and counted", lost)
		}
		close(s.hold)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(s.ids())); n == 0 || float64(n)+failed(t, "buffered")-before != sent {
		t.Errorf("%d events arrived, %v were dropped, of %d", n, failed(t, "buffered")-before, sent)
	}
}

// TestWebhookBatches: events of many requests come together, and batches not faster than the limit.
func TestWebhookBatches(t *testing.T) {
	s := newSink(t)
	a := newWebhook(t, s.URL, func(o *WebhookOptions) {
		c := &o.Batch.Config
		c.MaxBatchSize, c.MaxBatchWait, c.ThrottleQPS, c.ThrottleBurst, c.AsyncDelegate = 4, time.Hour, 10, 1, false
	})
	if err := a.While(func() error {
		for i := range 12 {
			request(t, a, fmt.Sprint(i), 1)
		}
		for end := time.Now().Add(10 * time.Second); len(strings.Fields(s.ids())) < 12 && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // when the sender stops, what it has begun to gather is a batch
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(s.sizes) != "[4 4 4]" {
		t.Errorf("batches of %v", s.sizes)
	}
	if spread := s.at[2].Sub(s.at[0]); spread < 150*time.Millisecond { // two waits of a tenth of a second, less what the first was late
		t.Errorf("three batches in %v, at ten in a second", spread)
	}
}

// TestWebhookTruncates: of an event that is too large the objects go first.
func TestWebhookTruncates(t *testing.T) {
	s := newSink(t)
	a := newWebhook(t, s.URL, func(o *WebhookOptions) {
		o.Batch.Mode, o.Truncate.Enabled = ModeBlocking, true
		o.Truncate.Config.MaxEventSize, o.Truncate.Config.MaxBatchSize = 4<<10, 8<<10
	})
	if err := a.While(func() error {
		request(t, a, "small", 10)
		request(t, a, "large", 64<<10)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if s.ids() != "small large" {
		t.Fatalf("arrived: %s", s.ids())
	}
	for i, truncated := range []bool{false, true} {
		e := s.events[i]
		if (e.RequestObject == nil) != truncated || (e.Annotations["audit.k8s.io/truncated"] == "true") != truncated {
			t.Errorf("%s: object %v, annotations %v", e.AuditID, e.RequestObject != nil, e.Annotations)
		}
	}
}

// TestPanicStage: a request that the server could not cope with is recorded as that.
func TestPanicStage(t *testing.T) {
	s := newSink(t)
	a := newWebhook(t, s.URL, func(o *WebhookOptions) { o.Batch.Mode = ModeBlockingStrict })
	if err := a.While(func() error {
		ctx, record, _ := a.Begin(context.Background(), authorizer.AttributesRecord{User: &user.DefaultInfo{}, Verb: "get", Path: "/x"})
		audit.WithAuditID(ctx, "p")
		record.ProcessEventStage(ctx, auditinternal.StagePanic)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(s.events) != 1 || s.events[0].Stage != auditv1.StagePanic {
		t.Errorf("recorded: %+v", s.events)
	}
}
