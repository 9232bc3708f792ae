// Package contract is what every runtime under a node agent must do, as tests: runtimes hold themselves to it in
// their own.
package contract

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clipper/node/runtime"
)

// A Subject is a runtime under test.
type Subject struct {
	testing.TB
	Runtime runtime.Runtime
	// Reopen returns what a new agent works with after the old one was killed.
	Reopen func() runtime.Runtime
	Dir    string // for logs
	Cgroup string // below which pods may be placed
	Image  string // one with busybox in it, that is there
}

// Test holds the runtime that open returns, a new one each time, to the contract.
func Test(t *testing.T, open func(t *testing.T) *Subject) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Pod runs a sandbox that is removed at the end of the test.
func (c *Subject) Pod() string {
	c.Helper()
	uid := strings.ToLower(rand.Text()[:12])
	logs := filepath.Join(c.Dir, "logs", uid)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		c.Fatal(err)
	}
	s := runtime.Sandbox{
		ID: uid + "-3", PodUID: uid, Namespace: "ns", Pod: "pod-" + uid, Attempt: 3, HostNetwork: true, LogDir: logs,
		CgroupParent: c.Cgroup + "/pod" + uid, Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"note": "x"},
	}
	if err := c.Runtime.RunSandbox(c.Context(), s); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.Runtime.RemoveSandbox(ctx, s.ID); err != nil {
			c.Error(err)
		}
	})
	return s.ID
}

func (c *Subject) container(sandbox, script string, change ...func(*runtime.Container)) string {
	c.Helper()
	uid, _, _ := strings.Cut(sandbox, "-")
	spec := runtime.Container{
		SandboxID: sandbox, Name: "main", Attempt: 2, Image: c.Image, Command: []string{"/bin/sh", "-c", script},
		Env: []string{"GREETING=hello"}, LogPath: filepath.Join(c.Dir, "logs", uid, rand.Text()[:8]+".log"),
		Labels: map[string]string{"kind": "test"}, Security: runtime.Security{User: new(int64)},
	}
	for _, f := range change {
		f(&spec)
	}
	id, err := c.Runtime.CreateContainer(c.Context(), spec)
	if err != nil {
		c.Fatal(err)
	}
	return id
}

func (c *Subject) running(sandbox, script string, change ...func(*runtime.Container)) string {
	c.Helper()
	id := c.container(sandbox, script, change...)
	if err := c.Runtime.StartContainer(c.Context(), id); err != nil {
		c.Fatal(err)
	}
	return id
}

// until polls a container's status.
func (c *Subject) until(id string, state runtime.State) runtime.ContainerStatus {
	c.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		st, err := c.Runtime.Status(c.Context(), id)
		if err != nil {
			c.Fatal(err)
		}
		if st.State == state {
			return st
		}
		if time.Now().After(deadline) {
			c.Fatalf("container is still %v", st.State)
		}
	}
}

var tests = map[string]func(*testing.T, *Subject){
	"sandbox":      testSandbox,
	"lifecycle":    testLifecycle,
	"stop":         testStop,
	"events":       testEvents,
	"exec":         testExec,
	"exec cut off": testExecCutOff,
	"attach":       testAttach,
	"attach often": testAttachOften,
	"port forward": testPortForward,
	"new agent":    testNewAgent,
	"resources":    testResources,
	"not found":    testNotFound,
}

func testSandbox(t *testing.T, c *Subject) {
	id := c.Pod()
	st, err := c.Runtime.SandboxStatus(t.Context(), id)
	if err != nil || !st.Ready || st.ID != id || st.Pod != "pod-"+st.PodUID || st.Namespace != "ns" || st.Attempt != 3 || st.External ||
		!st.HostNetwork || st.Labels["app"] != "web" || st.Annotations["note"] != "x" || len(st.Annotations) != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	left := c.running(id, "sleep 1000")
	if err := c.Runtime.StopSandbox(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if st, err := c.Runtime.SandboxStatus(t.Context(), id); err != nil || st.Ready {
		t.Errorf("after its stop: %+v, %v", st, err)
	}
	if st := c.until(left, runtime.Exited); st.ExitCode != 137 {
		t.Errorf("%+v", st)
	}
}

func testLifecycle(t *testing.T, c *Subject) {
	id := c.container(c.Pod(), "echo $GREETING; sleep 0.05; exit 3")
	if st := c.until(id, runtime.Created); st.Name != "main" || st.Attempt != 2 || !strings.Contains(st.Image, "busybox") || st.PodUID == "" || st.Labels["kind"] != "test" {
		t.Errorf("created: %+v", st)
	}
	if err := c.Runtime.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	st := c.until(id, runtime.Exited)
	if st.ExitCode != 3 || st.Reason != "Error" || st.StartedAt.IsZero() || st.FinishedAt.Before(st.StartedAt) || st.User != nil && st.User.UID != 0 {
		t.Errorf("exited: %+v", st)
	}
	if log, err := os.ReadFile(st.LogPath); err != nil || !strings.HasSuffix(string(log), " stdout F hello\n") {
		t.Errorf("log %q, %v", log, err)
	}
	for range 2 { // again without harm
		if err := c.Runtime.RemoveContainer(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

func testStop(t *testing.T, c *Subject) {
	sandbox := c.Pod()
	polite := c.running(sandbox, "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
	rude := c.running(sandbox, "trap '' TERM; echo up; while :; do sleep 0.01; done", func(s *runtime.Container) { s.Name = "rude" })
	c.logLine(polite, "stdout F up")
	c.logLine(rude, "stdout F up")
	if err := c.Runtime.StopContainer(t.Context(), polite, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if st := c.until(polite, runtime.Exited); st.ExitCode != 7 {
		t.Errorf("polite: %+v", st)
	}
	if err := c.Runtime.StopContainer(t.Context(), rude, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if st := c.until(rude, runtime.Exited); st.ExitCode != 137 {
		t.Errorf("rude: %+v", st)
	}
}

func testEvents(t *testing.T, c *Subject) {
	events := c.Runtime.Events(t.Context())
	sandbox := c.Pod()
	id := c.running(sandbox, "exit 0")
	for last := runtime.Created; last != runtime.Exited; { // steps may be merged, never the last one
		select {
		case e := <-events:
			if e.ContainerID == id {
				last = e.State
				if e.SandboxID != sandbox || sandbox != e.PodUID+"-3" {
					t.Errorf("%+v", e)
				}
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no event of the exit")
		}
	}
}

func testExec(t *testing.T, c *Subject) {
	id := c.running(c.Pod(), "sleep 1000")
	for _, short := range []bool{true, false} {
		var out, errOut bytes.Buffer
		code, err := c.Runtime.Exec(t.Context(), id, runtime.Exec{Command: []string{"sh", "-c", "echo out; echo err >&2; exit 5"}, Short: short, Stdout: &out, Stderr: &errOut})
		if code != 5 || err != nil || out.String() != "out\n" || errOut.String() != "err\n" {
			t.Errorf("short %v: %d, %v, %q, %q", short, code, err, out.String(), errOut.String())
		}
	}
	var out bytes.Buffer
	code, err := c.Runtime.Exec(t.Context(), id, runtime.Exec{Command: []string{"wc", "-c"}, Stdin: strings.NewReader(strings.Repeat("x", 1<<20)), Stdout: &out})
	if code != 0 || err != nil || strings.TrimSpace(out.String()) != "1048576" {
		t.Errorf("with stdin: %d, %v, %q", code, err, out.String())
	}
	out.Reset()
	size := make(chan runtime.Size, 1)
	size <- runtime.Size{Width: 91, Height: 33}
	code, err = c.Runtime.Exec(t.Context(), id, runtime.Exec{Command: []string{"sh", "-c", "sleep 0.3; stty size"}, TTY: true, Stdout: &out, Resize: size})
	if code != 0 || err != nil || strings.TrimSpace(out.String()) != "33 91" {
		t.Errorf("with a terminal: %d, %v, %q", code, err, out.String())
	}
}

func testExecCutOff(t *testing.T, c *Subject) {
	id := c.running(c.Pod(), "sleep 1000")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Runtime.Exec(ctx, id, runtime.Exec{Command: []string{"sleep", "999"}, Short: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var out bytes.Buffer
		if _, err := c.Runtime.Exec(t.Context(), id, runtime.Exec{Command: []string{"ps"}, Short: true, Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "sleep 999") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the process lives:\n%s", out.String())
		}
	}
}

func testAttach(t *testing.T, c *Subject) {
	id := c.running(c.Pod(), "while read line; do echo got $line; done; echo end", func(s *runtime.Container) { s.Stdin, s.StdinOnce = true, true })
	in, feed := io.Pipe()
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- c.Runtime.Attach(t.Context(), id, runtime.Exec{Stdin: in, Stdout: write})
		write.Close()
	}()
	if _, err := io.WriteString(feed, "hello\n"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := read.Read(buf); err != nil || string(buf[:n]) != "got hello\n" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	feed.Close() // stdin once: the container's ends
	if n, _ := read.Read(buf); string(buf[:n]) != "end\n" {
		t.Errorf("read %q", buf[:n])
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if st := c.until(id, runtime.Exited); st.ExitCode != 0 {
		t.Errorf("%+v", st)
	}
}

// testAttachOften: stdin that outlives its clients lets go of each when it has said all.
func testAttachOften(t *testing.T, c *Subject) {
	id := c.running(c.Pod(), "while read line; do echo got $line; done; echo end", func(s *runtime.Container) { s.Stdin = true })
	for _, word := range []string{"hello", "again"} {
		in, feed := io.Pipe()
		read, write := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- c.Runtime.Attach(t.Context(), id, runtime.Exec{Stdin: in, Stdout: write})
			write.Close()
		}()
		if _, err := io.WriteString(feed, word+"\n"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		if n, err := read.Read(buf); err != nil || string(buf[:n]) != "got "+word+"\n" {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		feed.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("attached still, though the client has said all")
		}
	}
	if st := c.until(id, runtime.Running); st.ExitCode != 0 {
		t.Errorf("%+v", st)
	}
}

func testPortForward(t *testing.T, c *Subject) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // the sandbox is on the host's network
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	sandbox := c.Pod()
	near, far := net.Pipe()
	done := make(chan error, 1)
	port := int32(listener.Addr().(*net.TCPAddr).Port)
	go func() { done <- c.Runtime.PortForward(t.Context(), sandbox, port, far) }()
	go func() { _, _ = io.WriteString(near, "hello") }()
	buf := make([]byte, 5)
	if _, err := io.ReadFull(near, buf); err != nil || string(buf) != "hello" {
		t.Errorf("%q, %v", buf, err)
	}
	near.Close()
	<-done
	listener.Close()
	_, far = net.Pipe()
	if err := c.Runtime.PortForward(t.Context(), sandbox, port, far); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a port that nobody listens on: %v", err)
	}
}

func testNewAgent(t *testing.T, c *Subject) {
	sandbox := c.Pod()
	id := c.running(sandbox, "sleep 1000")
	c.Runtime = c.Reopen()
	sandboxes, containers, err := c.Runtime.List(t.Context())
	if err != nil || len(sandboxes) != 1 || sandboxes[0].ID != sandbox || sandboxes[0].External || len(containers) != 1 ||
		containers[0].ID != id || containers[0].SandboxID != sandbox || containers[0].State != runtime.Running {
		t.Errorf("%+v, %+v, %v", sandboxes, containers, err)
	}
	other := c.running(sandbox, "sleep 1000", func(s *runtime.Container) { s.Name = "other" })
	if st := c.until(other, runtime.Running); st.SandboxID != sandbox {
		t.Errorf("%+v", st)
	}
}

func testResources(t *testing.T, c *Subject) {
	sandbox := c.Pod()
	id := c.running(sandbox, "sleep 1000", func(s *runtime.Container) { s.Resources = runtime.Resources{CPUShares: 100, MemoryLimit: 64 << 20} })
	if err := c.Runtime.UpdateResources(t.Context(), id, runtime.Resources{CPUShares: 200, MemoryLimit: 128 << 20}); err != nil {
		t.Error(err)
	}
	if err := c.Runtime.UpdateResources(t.Context(), sandbox, runtime.Resources{CPUShares: 300}); err != nil {
		t.Error(err)
	}
	stats, err := c.Runtime.Stats(t.Context(), id)
	if err != nil || len(stats) != 1 || stats[0].ContainerID != id || stats[0].MemoryUsage == 0 || stats[0].At.IsZero() {
		t.Errorf("%+v, %v", stats, err)
	}
	if st, err := c.Runtime.SandboxStats(t.Context(), sandbox); err != nil || st.MemoryUsage == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	oom := c.running(sandbox, "exec tail /dev/zero", func(s *runtime.Container) { s.Name, s.Resources.MemoryLimit = "oom", 32<<20 })
	if st := c.until(oom, runtime.Exited); st.ExitCode != 137 || !st.OOMKilled || st.Reason != "OOMKilled" {
		t.Errorf("%+v", st)
	}
}

func testNotFound(t *testing.T, c *Subject) {
	ctx := t.Context()
	_, statusErr := c.Runtime.Status(ctx, "none")
	_, sandboxErr := c.Runtime.SandboxStatus(ctx, "none-0")
	_, createErr := c.Runtime.CreateContainer(ctx, runtime.Container{SandboxID: "none-0", Name: "x", Image: c.Image})
	for i, err := range []error{statusErr, sandboxErr, createErr, c.Runtime.StartContainer(ctx, "none")} {
		if !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("%d: %v", i, err)
		}
	}
	for i, err := range []error{c.Runtime.StopContainer(ctx, "none", 0), c.Runtime.RemoveContainer(ctx, "none"), c.Runtime.StopSandbox(ctx, "none-0"), c.Runtime.RemoveSandbox(ctx, "none-0")} {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// logLine waits until the container has logged a line.
func (c *Subject) logLine(id, want string) {
	c.Helper()
	st, err := c.Runtime.Status(c.Context(), id)
	if err != nil {
		c.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		log, _ := os.ReadFile(st.LogPath) // there may be none yet
		if strings.Contains(string(log), " "+want+"\n") {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("container %s never logged %q; log: %q", id, want, log)
		}
	}
}
