package apiserver_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clipper/apiserver"
	"clipper/apiserver/exposition"
	"clipper/apiserver/servertest"
)

// TestNoHTTP2: whoever speaks both is offered HTTP/1.1 alone.
func TestNoHTTP2(t *testing.T) {
	for _, off := range []bool{false, true} {
		s := start(t, servertest.Options{Server: func(o *apiserver.Options) { o.NoHTTP2 = off }})
		resp, _ := ask(t, s, "admin", "GET", "/api/v1/namespaces", "")
		if want := map[bool]int{false: 2, true: 1}[off]; resp.ProtoMajor != want {
			t.Errorf("disabled %t: %s", off, resp.Proto)
		}
		c, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err == nil {
			c.Close()
		}
		if (err != nil) != off {
			t.Errorf("disabled %t, a client that speaks HTTP/2 alone: %v", off, err)
		}
	}
}

// TestDebugListener: who can connect to the socket needs no name and no right.
func TestDebugListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "debug")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) { o.DebugListener = l }})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	for path, want := range map[string]int{"/debug/pprof/cmdline": http.StatusOK, "/debug/flags": http.StatusOK, "/api/v1/pods": http.StatusNotFound} {
		resp, err := client.Get("http://debug" + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if resp, _ := ask(t, s, "admin", "GET", "/debug/pprof/cmdline", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("without profiling, at the API's port: %s", resp.Status)
	}
}

// TestHideCounts: the numbers of objects are shown unless they are not wanted.
func TestHideCounts(t *testing.T) {
	for _, hide := range []bool{false, true} {
		s := start(t, servertest.Options{Server: func(o *apiserver.Options) { o.HideCounts = hide }})
		if _, text := ask(t, s, "admin", "GET", "/metrics", ""); strings.Contains(text, "\napiserver_resource_objects{") == hide {
			t.Errorf("hidden %t: shown %t", hide, !hide)
		}
	}
}

// TestHideMetrics: a metric that is switched off is not shown, whoever counts it.
func TestHideMetrics(t *testing.T) {
	hidden := []string{"apiserver_current_inflight_requests", "apiserver_audit_event_total"}
	for _, hide := range []bool{false, true} {
		s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
			if hide {
				o.Metrics = exposition.New(hidden, nil)
			}
		}})
		_, text := ask(t, s, "admin", "GET", "/metrics", "")
		for _, name := range hidden {
			if strings.Contains(text, "# HELP "+name+" ") == hide {
				t.Errorf("hidden %t: %s", hide, name)
			}
		}
	}
}

// TestWatchGrace: a watch that is open when the server closes ends properly, and does not keep it for the whole grace.
func TestWatchGrace(t *testing.T) {
	s, err := servertest.Start(t.TempDir(), servertest.Options{Server: func(o *apiserver.Options) { o.Limits.WatchGrace = time.Minute }})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("GET", s.URL+"/api/v1/configmaps?watch=1&resourceVersion=1&allowWatchBookmarks=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
	resp, err := s.HTTPClient().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	begun := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the watch was cut off: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("stopping took %v", took)
	}
}
