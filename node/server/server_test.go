package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"clipper/node/kubeletconfig"
	"clipper/node/nodetest"
	"clipper/node/runtime"
	"clipper/node/stats"
)

type fakePod struct {
	obj    *corev1.Pod
	cur    *runtime.ContainerStatus
	exited atomic.Bool
}

func (p *fakePod) Status() (*corev1.Pod, corev1.PodStatus) { return p.obj, p.obj.Status }
func (p *fakePod) Sandbox() string                         { return "sandbox" }
func (p *fakePod) Container(string) (cur, prev *runtime.ContainerStatus) {
	if p.cur == nil {
		return nil, nil
	}
	c := *p.cur
	if p.exited.Load() {
		c.State = runtime.Exited
	}
	return &c, nil
}

type bench struct {
	*httptest.Server
	pod *fakePod
	rt  *nodetest.Runtime
	log string
	ask func(r *http.Request, verb string, subs []string) error

	server   *Server
	settings *kubeletconfig.Configuration
	sick     error
}

// Authorize implements Authorizer.
func (b *bench) Authorize(r *http.Request, verb string, subs []string) error {
	if b.ask != nil {
		return b.ask(r, verb, subs)
	}
	return nil
}

func newBench(t *testing.T) *bench {
	b := &bench{rt: nodetest.NewRuntime(), log: filepath.Join(t.TempDir(), "0.log")}
	obj := &corev1.Pod{}
	obj.Name, obj.Namespace, obj.UID = "p", "ns", "u"
	obj.Spec.HostNetwork = true
	obj.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	obj.Status.Phase = corev1.PodRunning
	obj.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", ContainerID: "clipper://c1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	b.pod = &fakePod{obj: obj, cur: &runtime.ContainerStatus{ID: "c1", Name: "c", State: runtime.Running, LogPath: b.log, SandboxID: "s"}}
	b.settings = kubeletconfig.Default()
	b.server = New(Config{NodeName: "n", Settings: b.settings, Pods: func() []Pod { return []Pod{b.pod} }, Runtime: b.rt, Authorizer: b, Healthy: func() error { return b.sick },
		SystemLogs: t.TempDir(), Machine: stats.Machine{BootID: "boot", MachineID: "machine", SystemUUID: "system", Memory: 1 << 30},
		Stats: stats.New(stats.Config{NodeName: "n", Memory: 1 << 30, DataDir: "/", CgroupRoot: "/none", Runtime: b.rt, Pods: func() []stats.Pod { return []stats.Pod{b.pod} }})})
	b.Server = httptest.NewServer(b.server)
	t.Cleanup(b.Close)
	return b
}

func (b *bench) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(b.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func entry(sec int, tag, text string) string {
	return fmt.Sprintf("2026-01-01T00:00:%02d.000000001Z stdout %s %s\n", sec, tag, text)
}

func TestLogs(t *testing.T) {
	b := newBench(t)
	content := entry(1, "F", "one") + entry(2, "P", "two,") + entry(2, "F", " continued") + entry(3, "F", "three")
	if err := os.WriteFile(b.log, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		query string
		code  int
		want  string
	}{
		{"", 200, "one\ntwo, continued\nthree\n"},
		{"?tailLines=1", 200, "three\n"},
		{"?tailLines=0", 200, ""},
		{"?tailLines=99", 200, "one\ntwo, continued\nthree\n"},
		{"?limitBytes=5", 200, "one\nt"},
		{"?sinceTime=2026-01-01T00:00:03Z", 200, "three\n"},
		{"?timestamps=true&tailLines=3", 200, "2026-01-01T00:00:02.000000001Z two, continued\n2026-01-01T00:00:03.000000001Z three\n"},
		{"?previous=true", 400, "previous terminated container \"c\" in pod \"p\" not found"},
		{"?tailLines=x", 400, `{"message": "Unable to decode query."}`},
		{"?sinceTime=yesterday", 400, `{"message": "Unable to decode query."}`},
		{"?tailLines=-1", 422, `{"message": "Invalid request."}`},
		{"?limitBytes=0", 422, `{"message": "Invalid request."}`},
		{"?sinceSeconds=1&sinceTime=2026-01-01T00:00:03Z", 422, `{"message": "Invalid request."}`},
		{"?tail=1", 200, "three\n"},
		{"?tail=all", 200, "one\ntwo, continued\nthree\n"},
		{"?stream=All&tailLines=1", 200, "three\n"},
		{"?stream=Stderr", 400, `unable to return the given log stream: "Stderr". Please enable PodLogsQuerySplitStreams feature gate in kubelet`},
	} {
		if code, body := b.get(t, "/containerLogs/ns/p/c"+tc.query); code != tc.code || body != tc.want {
			t.Errorf("%s: %d %q, want %d %q", tc.query, code, body, tc.code, tc.want)
		}
	}
	if code, body := b.get(t, "/containerLogs/ns/p/nope"); code != 404 || body != "container \"nope\" not found in pod \"p\"" {
		t.Errorf("%d %q", code, body)
	}
	if err := os.Remove(b.log); err != nil {
		t.Fatal(err)
	}
	if code, body := b.get(t, "/containerLogs/ns/p/c"); code != 200 || !strings.HasPrefix(body, "failed to try resolving symlinks in path ") {
		t.Errorf("a log that has vanished: %d %q", code, body)
	}
	b.pod.cur = nil
	if code, body := b.get(t, "/containerLogs/ns/p/c"); code != 400 || body != "unable to retrieve container logs for clipper://c1" {
		t.Errorf("a container that has vanished: %d %q", code, body)
	}
	b.pod.obj.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}}
	if code, body := b.get(t, "/containerLogs/ns/p/c"); code != 400 || body != "container \"c\" in pod \"p\" is waiting to start: ContainerCreating" {
		t.Errorf("%d %q", code, body)
	}
}

// A follower sees what is written before, during and after a rotation, and ends with the container.
func TestFollowAcrossRotation(t *testing.T) {
	b := newBench(t)
	f, err := os.Create(b.log)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, entry(1, "F", "one"))
	resp, err := http.Get(b.URL + "/containerLogs/ns/p/c?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	read := func(want string) {
		t.Helper()
		buf := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != want {
			t.Fatalf("read %q, %v; want %q", buf, err, want)
		}
	}
	read("one\n")
	io.WriteString(f, entry(2, "F", "two"))
	read("two\n")
	io.WriteString(f, entry(3, "F", "last of the old"))
	if err := os.Rename(b.log, b.log+".20260101-000000"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.log, []byte(entry(4, "F", "first of the new")), 0o644); err != nil {
		t.Fatal(err)
	}
	read("last of the old\nfirst of the new\n")
	b.pod.exited.Store(true)
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Errorf("after the container's end: %q, %v", rest, err)
	}
}

func TestExec(t *testing.T) {
	b := newBench(t)
	b.rt.ExecFn = func(id string, cmd []string) (int, string) { return 7, id + " ran " + strings.Join(cmd, "|") }
	u, _ := url.Parse(b.URL + "/exec/ns/p/c?command=echo&command=a+b&output=1&error=1")
	cfg := &rest.Config{Host: b.URL}
	spdy, err := remotecommand.NewSPDYExecutor(cfg, "POST", u)
	if err != nil {
		t.Fatal(err)
	}
	// Version 5 is between client and API server, which translates it for the node.
	ws, err := remotecommand.NewWebSocketExecutorForProtocols(cfg, "GET", u.String(), "v4.channel.k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	for name, ex := range map[string]remotecommand.Executor{"SPDY": spdy, "WebSocket": ws} {
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := ex.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: io.Discard})
		cancel()
		var exit utilexec.CodeExitError
		if !errors.As(err, &exit) || exit.Code != 7 || out.String() != "c1 ran echo|a b" {
			t.Errorf("%s: %q, %v", name, out.String(), err)
		}
	}
}

func TestSummaryAndMetrics(t *testing.T) {
	b := newBench(t)
	code, body := b.get(t, "/stats/summary")
	var s statsapi.Summary
	if err := json.Unmarshal([]byte(body), &s); code != 200 || err != nil {
		t.Fatal(code, err)
	}
	if len(s.Pods) != 1 || len(s.Pods[0].Containers) != 1 || *s.Pods[0].Containers[0].Memory.WorkingSetBytes != 1<<20 || *s.Node.CPU.UsageCoreNanoSeconds == 0 {
		t.Errorf("summary = %s", body)
	}
	for path, want := range map[string]string{
		"/metrics/resource": `container_memory_working_set_bytes{container="c",namespace="ns",pod="p"} 1.048576e+06 `,
		"/metrics/cadvisor": `machine_memory_bytes{boot_id="boot",machine_id="machine",system_uuid="system"} 1.073741824e+09`,
		"/metrics/probes":   "",
		"/metrics/slis":     "",
		"/statusz":          "kubelet statusz",
		"/debug/pprof/":     "goroutine",
		"/metrics":          "kubelet_running_pods 1",
		"/configz":          `{"kubeletconfig":{"enableServer":true`,
		"/pods":             `"name":"p"`,
		"/healthz":          "ok",
	} {
		if code, body := b.get(t, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, no %q in %s", path, code, want, body)
		}
	}
}

func TestEveryPathIsGuarded(t *testing.T) {
	b := newBench(t)
	var got string
	b.ask = func(_ *http.Request, verb string, subs []string) error {
		got = verb + " " + strings.Join(subs, ",")
		return &Refusal{http.StatusForbidden, "no"}
	}
	for path, want := range map[string]string{
		"/pods": "get pods,proxy", "/containerLogs/ns/p/c": "get proxy", "/exec/ns/p/c": "get proxy", "/stats/summary": "get stats",
		"/metrics/cadvisor": "get metrics", "/logs/": "get log", "/healthz": "get healthz,proxy", "/configz": "get configz,proxy", "/runningpods/": "get pods,proxy",
		"/flagz": "get configz", "/statusz": "get statusz", "/debug/pprof/": "get proxy", "/podsbutnot": "get proxy",
	} {
		if code, _ := b.get(t, path); code != 403 || got != want {
			t.Errorf("%s: %d, asked for %q, want %q", path, code, got, want)
		}
	}
}
