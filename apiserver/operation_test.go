package apiserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/apiserver"
	"clipper/apiserver/audit"
	"clipper/apiserver/fairness"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/servertest"
)

// ask makes a request as name and returns the answer with its body read.
func ask(t *testing.T, s *servertest.Server, name, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if name != "" {
		r.Header.Set("Authorization", "Bearer "+name)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.HTTPClient().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestHealth(t *testing.T) {
	var mu sync.Mutex
	var fault, unstarted error
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
		o.Checks = map[string]func(context.Context) error{"etcd": func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			return fault
		}}
		o.ReadyChecks = map[string]func(context.Context) error{"etcd-readiness": func(context.Context) error { return nil }}
		o.OutsideChecks = map[string]func(context.Context) error{"kms-providers": func(context.Context) error { return nil }}
		o.Hooks = []apiserver.Hook{{Name: "poststarthook/z"}, {Name: "poststarthook/a/b", Started: func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			return unstarted
		}}}
	}})
	for _, x := range []struct{ path, want string }{
		{"/healthz", "200 ok"},
		{"/livez/ping", "200 ok"},
		{"/healthz/poststarthook/a/b", "200 ok"},
		{"/livez?verbose", "200 [+]ping ok\n[+]log ok\n[+]etcd ok\n[+]poststarthook/z ok\n[+]poststarthook/a/b ok\nlivez check passed\n"},
		{"/readyz?verbose", "200 [+]ping ok\n[+]log ok\n[+]etcd ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n[+]kms-providers ok\n[+]poststarthook/z ok\n[+]poststarthook/a/b ok\n[+]shutdown ok\nreadyz check passed\n"},
		{"/readyz?verbose&exclude=etcd&exclude=nothing", "200 [+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n[+]kms-providers ok\n[+]poststarthook/z ok\n[+]poststarthook/a/b ok\n[+]shutdown ok\nwarn: some health checks cannot be excluded: no matches for \"nothing\"\nreadyz check passed\n"},
		{"/livez/shutdown", "404 404 page not found\n"},
		{"/livez/kms-providers", "404 404 page not found\n"},
		{"/healthz/kms-providers", "200 ok"},
	} {
		if resp, text := ask(t, s, "admin", "GET", x.path, ""); fmt.Sprintf("%d %s", resp.StatusCode, text) != x.want {
			t.Errorf("%s: %d %q, want %q", x.path, resp.StatusCode, text, x.want)
		}
	}
	mu.Lock()
	fault, unstarted = fmt.Errorf("the disk is full"), fmt.Errorf("not finished")
	mu.Unlock()
	for _, x := range []struct{ path, want string }{
		{"/livez", "500 [+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\n[+]poststarthook/z ok\n[-]poststarthook/a/b failed: reason withheld\nlivez check failed\n"},
		{"/livez?exclude=etcd&exclude=poststarthook/a/b", "200 ok"},
		{"/healthz/etcd", "500 internal server error: the disk is full\n"},
	} {
		if resp, text := ask(t, s, "admin", "GET", x.path, ""); fmt.Sprintf("%d %s", resp.StatusCode, text) != x.want {
			t.Errorf("%s: %d %q, want %q", x.path, resp.StatusCode, text, x.want)
		}
	}
	if _, text := ask(t, s, "admin", "GET", "/metrics/slis", ""); !strings.Contains(text, `kubernetes_healthcheck{name="etcd",type="livez"} 0`) {
		t.Errorf("/metrics/slis:\n%s", text)
	}
}

func TestDebugAndPages(t *testing.T) {
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
		o.Profiling = true
		o.Flags = func() map[string]string { return map[string]string{"listen": ":6443"} }
		o.Extra = map[string]http.Handler{"/clipper/encryption": http.NotFoundHandler()}
		o.Fairness = fairness.New(fairness.Config{Seats: 10, Objects: func(string, string, string) (int, int) { return 0, 0 }})
	}})
	for _, x := range []struct{ method, path, body, want string }{
		{"GET", "/debug/pprof/", "", "Types of profiles available"},
		{"GET", "/debug/pprof/heap?debug=1", "", "heap profile"},
		{"GET", "/debug/flags", "", "/debug/flags/"},
		{"PUT", "/debug/flags/v", "0", "successfully set klog.logging.verbosity to 0"},
		{"PUT", "/debug/flags/v", "much", `strconv.ParseUint: parsing "much": invalid syntax`},
		{"GET", "/statusz", "", "apiserver statusz"},
		{"GET", "/statusz", "", " /flagz /healthz /livez /metrics /readyz /statusz /version\n"},
		{"GET", "/flagz", "", "listen"},
		{"GET", "/debug/api_priority_and_fairness/dump_priority_levels", "", "catch-all"},
		{"GET", "/debug/api_priority_and_fairness/dump_queues", "", "NextDispatchR"},
		{"GET", "/debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1", "", "dump_requests"},
		{"GET", "/", "", "/readyz/shutdown"},
	} {
		if resp, text := ask(t, s, "admin", x.method, x.path, x.body); !strings.Contains(text, x.want) {
			t.Errorf("%s %s: %d %.300q, want %q", x.method, x.path, resp.StatusCode, text, x.want)
		}
	}
	if resp, _ := ask(t, s, "denied", "GET", "/debug/pprof/", ""); resp.StatusCode != http.StatusForbidden || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a stranger at /debug/pprof: %d", resp.StatusCode)
	}
}

// TestMetrics holds the names that dashboards and alerts ask for.
func TestMetrics(t *testing.T) {
	s := start(t, servertest.Options{})
	ask(t, s, "admin", "POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"a"}}`)
	ask(t, s, "admin", "GET", "/api/v1/namespaces/default/configmaps", "")
	ask(t, s, "admin", "GET", "/api/v1/namespaces/default/configmaps?labelSelector=none", "")
	ask(t, s, "admin", "GET", "/api/v1/namespaces/default/configmaps/a", "")
	ask(t, s, "admin", "GET", "/api/v1/configmaps?watch=1&timeoutSeconds=1", "")
	ask(t, s, "admin", "GET", "/livez", "")
	ask(t, s, "bad", "GET", "/livez", "")
	_, text := ask(t, s, "admin", "GET", "/metrics", "")
	for _, want := range []string{
		`apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="POST",version="v1"} 1`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1"} 2`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="cluster",subresource="",verb="WATCH",version="v1"} 1`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="",scope="",subresource="/livez",verb="GET",version=""} 1`,
		`apiserver_request_duration_seconds_count{component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="GET",version="v1"} 1`,
		`apiserver_request_sli_duration_seconds_count{component="apiserver",group="",resource="configmaps",scope="resource",subresource="",verb="GET",version="v1"} 1`,
		`apiserver_response_sizes_count{component="apiserver",group="",resource="configmaps",scope="resource",subresource="",verb="GET",version="v1"} 1`,
		`apiserver_longrunning_requests{component="apiserver",group="",resource="configmaps",scope="cluster",subresource="",verb="WATCH",version="v1"} 0`,
		`apiserver_watch_events_total{group="",resource="configmaps",version="v1"} 1`,
		`apiserver_watch_events_sizes_count{group="",resource="configmaps",version="v1"} 1`,
		`apiserver_current_inflight_requests{request_kind="readOnly"}`,
		`apiserver_request_body_size_bytes_bucket{group="",resource="configmaps",verb="create",le="50000"} 1`,
		`apiserver_cache_list_total{group="",index="",resource="configmaps"} 2`,
		`apiserver_cache_list_fetched_objects_total{group="",index="",resource="configmaps"} 2`,
		`apiserver_cache_list_returned_objects_total{group="",resource="configmaps"} 1`,
		`apiserver_init_events_total{group="",resource="configmaps"} 1`,
		`apiserver_request_slo_duration_seconds_count{component="apiserver",group="",resource="configmaps",scope="resource",subresource="",verb="GET",version="v1"} 1`,
		`apiserver_storage_objects{resource="configmaps"} 1`,
		`apiserver_resource_objects{group="",resource="configmaps"} 1`,
		`authentication_attempts{result="success"} 7`,
		`authentication_attempts{result="failure"} 1`,
		`authenticated_user_requests{username="admin"} 7`,
		`authorization_attempts_total{result="allowed"} 7`,
		`kubernetes_build_info{`, `kubernetes_feature_enabled{name="APIServerTracing"`,
		`go_goroutines`, `process_start_time_seconds`, `apiserver_tls_handshake_errors_total`, `apiserver_audit_event_total`,
	} {
		if !strings.Contains(text, "\n"+want) {
			name, _, _ := strings.Cut(want, "{")
			t.Errorf("/metrics lacks %s; it has\n%s", want, strings.Join(regexp.MustCompile(`(?m)^`+name+`.*$`).FindAllString(text, 8), "\n"))
		}
	}
}

// TestSelfRequests: what the server asks of itself is counted apart.
func TestSelfRequests(t *testing.T) {
	s := start(t, servertest.Options{})
	for _, name := range []string{"system:apiserver", "somebody"} {
		ask(t, s, "admin", "GET", "/api/v1/namespaces/default/configmaps", "", "Impersonate-User", name)
	}
	const want = `apiserver_selfrequest_total{group="",resource="configmaps",subresource="",verb="LIST"} 1`
	if _, text := ask(t, s, "admin", "GET", "/metrics", ""); !strings.Contains(text, "\n"+want+"\n") {
		t.Errorf("/metrics lacks %s", want)
	}
}

// TestMetricsReset: DELETE makes what was counted begin anew, and counting goes on.
func TestMetricsReset(t *testing.T) {
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) { o.Profiling = true }})
	const list, counted = "/api/v1/namespaces/default/configmaps", `apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1"} `
	for range 3 {
		ask(t, s, "admin", "GET", list, "")
	}
	if resp, _ := ask(t, s, "denied", "DELETE", "/metrics", ""); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger resets: %d", resp.StatusCode)
	}
	if _, text := ask(t, s, "admin", "GET", "/metrics", ""); !strings.Contains(text, counted+"3\n") {
		t.Error("three lists are not counted")
	}
	if resp, text := ask(t, s, "admin", "DELETE", "/metrics", ""); resp.StatusCode != http.StatusOK || text != "metrics reset\n" {
		t.Errorf("reset: %d %q", resp.StatusCode, text)
	}
	ask(t, s, "admin", "GET", list, "")
	if _, text := ask(t, s, "admin", "GET", "/metrics", ""); !strings.Contains(text, counted+"1\n") {
		t.Error("one list after the reset is not counted as one")
	}
	closed := start(t, servertest.Options{})
	if resp, text := ask(t, closed, "admin", "DELETE", "/metrics", ""); resp.StatusCode != http.StatusOK || text == "metrics reset\n" {
		t.Errorf("reset without --profiling, where metrics are shown whatever the method: %d %q", resp.StatusCode, text)
	}
}

// blocking is a path that answers when the test says so.
func blocking(o *apiserver.Options) (entered chan struct{}, release chan struct{}) {
	entered, release = make(chan struct{}, 100), make(chan struct{})
	o.Extra = map[string]http.Handler{"/block": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		select {
		case <-release:
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	})}
	return entered, release
}

func TestTooManyRequests(t *testing.T) {
	for _, how := range []string{"fairness", "in flight"} {
		t.Run(how, func(t *testing.T) {
			var entered, release chan struct{}
			s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
				entered, release = blocking(o)
				if how == "fairness" {
					o.Limits.Request = time.Second // a quarter of it is waited
					o.Fairness = fairness.New(fairness.Config{Seats: 1, Objects: func(string, string, string) (int, int) { return 0, 0 }})
				} else {
					o.InFlight = &fairness.Limit{Reads: 1, Writes: 1}
				}
			}})
			done := make(chan string)
			go func() {
				_, text := ask(t, s, "slow", "GET", "/block", "")
				done <- text
			}()
			<-entered
			resp, text := ask(t, s, "someone", "GET", "/api/v1/pods", "")
			if resp.StatusCode != http.StatusTooManyRequests || text != "Too many requests, please try again later.\n" || resp.Header.Get("Retry-After") != "1" {
				t.Errorf("%d %q, headers %v", resp.StatusCode, text, resp.Header)
			}
			if _, ok := resp.Header[http.CanonicalHeaderKey(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID)]; ok != (how == "fairness") {
				t.Errorf("headers %v", resp.Header)
			}
			if resp, _ := ask(t, s, "admin", "GET", "/api/v1/pods", ""); resp.StatusCode != http.StatusOK {
				t.Errorf("an administrator: %d", resp.StatusCode)
			}
			close(release)
			if text := <-done; text != "done" {
				t.Errorf("the slow one: %q", text)
			}
			if resp, _ := ask(t, s, "someone", "GET", "/api/v1/pods", ""); resp.StatusCode != http.StatusOK {
				t.Errorf("afterwards: %d", resp.StatusCode)
			}
		})
	}
}

// TestWatchGivesItsSeatBack: once the initial events are out.
func TestWatchGivesItsSeatBack(t *testing.T) {
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
		o.Fairness = fairness.New(fairness.Config{Seats: 1, Objects: func(string, string, string) (int, int) { return 0, 0 }})
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 3 {
		r, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/api/v1/pods?watch=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer someone")
		resp, err := s.HTTPClient().Do(r)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		defer resp.Body.Close()
	}
	if resp, _ := ask(t, s, "someone", "GET", "/api/v1/pods", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("beside three watches: %d", resp.StatusCode)
	}
}

func TestTimeoutParameter(t *testing.T) {
	s := start(t, servertest.Options{})
	resp, text := ask(t, s, "admin", "GET", "/api/v1/pods?timeout=soon", "")
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(text, `invalid timeout specified in the request URL - time: invalid duration \"soon\"`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if resp, _ := ask(t, s, "admin", "GET", "/api/v1/pods?timeout=32s", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("timeout=32s: %d", resp.StatusCode)
	}
	resp, text = ask(t, s, "admin", "POST", "/api/v1/namespaces/default/configmaps?timeout=1ns", `{"metadata":{"name":"late"}}`)
	const overdue = `{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504}` + "\n"
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusGatewayTimeout || text != overdue || kind != "text/plain; charset=utf-8" {
		t.Errorf("timeout=1ns: %d %s %s", resp.StatusCode, kind, text)
	}
}

// TestSlowClientsAreCutOff: one that does not send what it announced, and one that takes nothing of an answer.
func TestSlowClientsAreCutOff(t *testing.T) {
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) { o.Limits.Request = 2 * time.Second }})
	filler := strings.Repeat("x", 900<<10)
	for i := range 8 {
		ask(t, s, "admin", "POST", "/api/v1/namespaces/default/configmaps", fmt.Sprintf(`{"metadata":{"name":"big-%d"},"data":{"a":%q}}`, i, filler))
	}
	for name, request := range map[string]string{
		"never sends": "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
		"never takes": "GET /api/v1/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			plain, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "https://"))
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			if err := plain.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil { // so that the kernel does not take the answer
				t.Fatal(err)
			}
			c := tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			if name == "never sends" {
				if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
					t.Error("the connection is still open")
				}
			}
			eventually(t, "it was cut off", func() bool {
				_, text := ask(t, s, "admin", "GET", "/metrics", "")
				verb := map[string]string{"never sends": "POST", "never takes": "LIST"}[name]
				return strings.Contains(text, `apiserver_request_terminations_total{code="504",component="apiserver",group="",resource="configmaps",scope=`) &&
					regexp.MustCompile(`terminations_total\{code="504".*verb="`+verb+`"`).MatchString(text)
			})
		})
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after ten seconds: %s", what)
		}
	}
}

// TestGracefulShutdown: /readyz fails first, then late requests are refused, and those under way are answered.
func TestGracefulShutdown(t *testing.T) {
	var entered, release chan struct{}
	s, err := servertest.Start(t.TempDir(), servertest.Options{Server: func(o *apiserver.Options) {
		entered, release = blocking(o)
		o.Limits.ShutdownDelay = 500 * time.Millisecond
	}})
	if err != nil {
		t.Fatal(err)
	}
	late := keepAlive(t, s)
	if code, _ := late("/readyz"); code != http.StatusOK {
		t.Fatalf("before: %d", code)
	}
	answered := make(chan string, 1)
	go func() {
		_, text := ask(t, s, "admin", "GET", "/block", "")
		answered <- text
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop() }()
	eventually(t, "/readyz fails", func() bool { code, _ := late("/readyz"); return code == http.StatusInternalServerError })
	if code, _ := late("/api/v1/pods"); code != http.StatusOK {
		t.Errorf("during the delay: %d", code)
	}
	eventually(t, "requests are refused", func() bool {
		code, text := late("/api/v1/pods")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "apiserver is shutting down")
	})
	eventually(t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "https://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("stopped (%v) while a request was under way", err)
	default:
	}
	close(release)
	if text := <-answered; text != "done" {
		t.Errorf("the request under way: %q", text)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// keepAlive asks on one connection for as long as the server leaves it open, else on a new one.
func keepAlive(t *testing.T, s *servertest.Server) func(path string) (int, string) {
	var c net.Conn
	var in *bufio.Reader
	return func(path string) (int, string) {
		if c == nil {
			fresh, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			c, in = fresh, bufio.NewReader(fresh)
		}
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Close {
			c.Close()
			c = nil
		}
		return resp.StatusCode, string(text)
	}
}

const policy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/metrics*"]
- level: RequestResponse
  omitManagedFields: true
  resources: [{group: "", resources: [configmaps]}]
- level: Request
  resources: [{group: "", resources: [pods]}]
  omitStages: []
- level: Metadata
`

// newAuditor returns one that goes by policy, and its log.
func newAuditor(t *testing.T) (auditor *audit.Auditor, log string) {
	dir := t.TempDir()
	file, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "log", "audit.log")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	options := audit.DefaultOptions()
	options.PolicyFile, options.Log.Path = file, log
	auditor, err := audit.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return auditor, log
}

func TestAudit(t *testing.T) {
	auditor, log := newAuditor(t)
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) { o.Audit = auditor }})
	resp, _ := ask(t, s, "admin", "POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"generateName":"a-"},"data":{"k":"v"}}`, "Audit-Id", "mine", "User-Agent", "tester/1")
	if resp.Header.Get("Audit-Id") != "mine" {
		t.Errorf("Audit-Id: %v", resp.Header)
	}
	ask(t, s, "admin", "GET", "/api/v1/configmaps", "", "Accept", "application/vnd.kubernetes.protobuf")
	ask(t, s, "admin", "PATCH", "/api/v1/namespaces/default/pods/none", `{"a":1}`, "Content-Type", "application/merge-patch+json")
	ask(t, s, "denied", "DELETE", "/api/v1/namespaces/default/secrets/x", "")
	ask(t, s, "bad", "GET", "/api/v1/nodes", "")
	ask(t, s, "admin", "GET", "/api/v1/nodes", "", "Impersonate-User", "alice", "Impersonate-Group", "friends")
	ask(t, s, "admin", "GET", "/api/v1/secrets?watch=1&timeoutSeconds=1", "")
	ask(t, s, "admin", "GET", "/metrics", "")
	var got []string
	for _, e := range auditEvents(t, log) {
		got = append(got, shown(&e))
	}
	want := []string{
		`RequestResponse ResponseComplete create admin default/configmaps/a-* 201 allow request={"apiVersion":"v1","data":{"k":"v"},"kind":"ConfigMap","metadata":{"generateName":"a-"}} response=ConfigMap`,
		`RequestResponse ResponseComplete list admin /configmaps/ 200 allow response=ConfigMapList`,
		`Request ResponseComplete patch admin default/pods/none 404 NotFound allow request={"a":1}`,
		`Metadata ResponseComplete delete denied default/secrets/x 403 Forbidden forbid`,
		`Metadata ResponseStarted list  /nodes/ 401 Authentication failed, attempted: bearer`,
		`Metadata ResponseComplete list admin as alice [friends system:authenticated] /nodes/ 200 allow`,
		`Metadata ResponseStarted watch admin /secrets/ 200 allow`,
		`Metadata ResponseComplete watch admin /secrets/ 200 allow`,
	}
	if text := strings.Join(got, "\n"); text != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", text, strings.Join(want, "\n"))
	}
}

// TestAuditOfOwnParts: what the server's own parts write is recorded like what comes over HTTP.
func TestAuditOfOwnParts(t *testing.T) {
	auditor, log := newAuditor(t)
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) { o.Audit = auditor }})
	c := inprocess.New(auditor.Door(s.Pipeline), s.Live, s.Store, &user.DefaultInfo{Name: "system:kube-controller-manager"}, "kube-controller-manager")
	_, err := api.ConfigMaps.Create(t.Context(), c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}, Data: map[string]string{"k": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	stale := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c", ResourceVersion: "1"}}
	if _, err := c.Update(t.Context(), api.ConfigMaps.Resource, "", stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of an older state: %v", err)
	}
	if _, err := c.Patch(t.Context(), api.Pods.Resource, "default", "none", "status", types.MergePatchType, []byte(`{"a":1}`), metav1.PatchOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("patch of no pod: %v", err)
	}
	if err := api.ConfigMaps.Delete(t.Context(), c, "default", "c", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range auditEvents(t, log) {
		if e.UserAgent != "kube-controller-manager" || e.AuditID == "" || len(e.SourceIPs) != 1 {
			t.Errorf("event %+v: user agent, ID or source is missing", e)
		}
		got = append(got, e.RequestURI+" "+shown(&e))
	}
	const cm = "/api/v1/namespaces/default/configmaps"
	want := []string{
		cm + ` RequestResponse ResponseComplete create system:kube-controller-manager default/configmaps/c 201  request={"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","namespace":"default"},"data":{"k":"v"}} response=ConfigMap`,
		cm + `/c RequestResponse ResponseComplete update system:kube-controller-manager default/configmaps/c 409 Conflict Operation cannot be fulfilled on configmaps "c": the object has been modified; please apply your changes to the latest version and try again request={"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","namespace":"default","resourceVersion":"1"}}`,
		`/api/v1/namespaces/default/pods/none/status Metadata ResponseComplete patch system:kube-controller-manager default/pods/none 404 NotFound pods "none" not found`,
		cm + `/c RequestResponse ResponseComplete delete system:kube-controller-manager default/configmaps/c 200  request={"kind":"DeleteOptions","apiVersion":"v1"}`,
	}
	if text := strings.Join(got, "\n"); text != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", text, strings.Join(want, "\n"))
	}
}

func auditEvents(t *testing.T, file string) []auditv1.Event {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []auditv1.Event
	for d := json.NewDecoder(bytes.NewReader(text)); d.More(); {
		var e auditv1.Event
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// shown is what is interesting of an event.
func shown(e *auditv1.Event) string {
	out := fmt.Sprintf("%s %s %s %s", e.Level, e.Stage, e.Verb, e.User.Username)
	if u := e.ImpersonatedUser; u != nil {
		out += fmt.Sprintf(" as %s %v", u.Username, u.Groups)
	}
	if r := e.ObjectRef; r != nil {
		name := r.Name
		if name == "" && e.Verb == "create" {
			name = "a-*"
		}
		out += fmt.Sprintf(" %s/%s/%s", r.Namespace, r.Resource, name)
	}
	out += fmt.Sprintf(" %d", e.ResponseStatus.Code)
	if e.ResponseStatus.Reason != "" {
		out += " " + string(e.ResponseStatus.Reason)
	}
	if e.Annotations["authorization.k8s.io/decision"] == "" {
		out += " " + e.ResponseStatus.Message
	}
	out += strings.TrimRight(" "+e.Annotations["authorization.k8s.io/decision"], " ")
	if e.RequestObject != nil {
		out += " request=" + string(e.RequestObject.Raw)
	}
	if e.ResponseObject != nil && !strings.Contains(string(e.ResponseObject.Raw), `"Status"`) {
		out += " response=" + regexp.MustCompile(`"kind":"(\w+)"`).FindStringSubmatch(string(e.ResponseObject.Raw))[1]
		if strings.Contains(string(e.ResponseObject.Raw), "managedFields") {
			out += " with managed fields"
		}
	}
	return out
}

func TestComponentStatuses(t *testing.T) {
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
		o.Checks = map[string]func(context.Context) error{"etcd": func(context.Context) error { return fmt.Errorf("no quorum") }}
	}})
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io"
	resp, text := ask(t, s, "admin", "GET", "/api/v1/componentstatuses", "", "Accept", table)
	var list struct {
		Rows []struct{ Cells []any }
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, r := range list.Rows {
		rows = append(rows, fmt.Sprint(r.Cells...))
	}
	want := "controller-managerHealthyok,schedulerHealthyok,etcd-0Unhealthyno quorum"
	if got := strings.Join(rows, ","); got != want || !strings.Contains(resp.Header.Get("Warning"), "v1 ComponentStatus is deprecated in v1.19+") {
		t.Errorf("%s, want %s; headers %v", got, want, resp.Header)
	}
	for path, want := range map[string]string{
		"/etcd-0":              `200 .*"name": ?"etcd-0"`,
		"/nothing":             `404 .*componentstatus \\"nothing\\" not found`,
		"?labelSelector=a%3Db": `200 .*"items": ?\[\]`,
		"?fieldSelector=metadata.name%3Dscheduler": `200 .*"items": ?\[\{"metadata":\{"name":"scheduler"[^\]]*\]\}\]`,
		"?labelSelector=a%3D%3D%3Db":               `400 .*BadRequest`,
	} {
		resp, text := ask(t, s, "admin", "GET", "/api/v1/componentstatuses"+path, "")
		if got := fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(text)); !regexp.MustCompile("^" + want).MatchString(got) {
			t.Errorf("%s: %s", path, got)
		}
	}
}
