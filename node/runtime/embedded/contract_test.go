package embedded

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"clipper/image"
	"clipper/node/runtime"
	criclient "clipper/node/runtime/cri/client"
	criserver "clipper/node/runtime/cri/server"
)

// A contractor is a runtime under the contract's tests. reopen is what a new agent does after the old one was killed.
type contractor struct {
	*bed
	rt     runtime.Runtime
	reopen func() runtime.Runtime
}

// TestContract holds the runtime to the contract, called directly and by way of the container runtime interface:
// through the socket of package cri/server by package cri/client.
func TestContract(t *testing.T) {
	for name, open := range map[string]func(*bed) *contractor{"direct": direct, "cri": throughCRI} {
		t.Run(name, func(t *testing.T) {
			for name, test := range contract {
				t.Run(name, func(t *testing.T) { test(t, open(newBed(t))) })
			}
		})
	}
}

func direct(b *bed) *contractor {
	c := &contractor{bed: b, rt: b.rt}
	c.reopen = func() runtime.Runtime { b.reopen(); return b.rt }
	return c
}

// storedImages stand for an image store with one image.
type storedImages struct{ *dirSnapshots }

var theImage = runtime.Image{ID: "busybox", Tags: []string{"docker.io/library/busybox:latest"}, Size: 1, User: "web"}

func (s storedImages) ImageStatus(_ context.Context, ref string) (runtime.Image, error) {
	if ref == "busybox" {
		return theImage, nil
	}
	return runtime.Image{}, runtime.ErrNotFound
}
func (s storedImages) ListImages(context.Context) ([]runtime.Image, error) {
	return []runtime.Image{theImage}, nil
}
func (s storedImages) PullImage(context.Context, string, []runtime.PullAuth) (runtime.Image, error) {
	return runtime.Image{}, errors.New("there is no registry")
}
func (s storedImages) RemoveImage(context.Context, string) error  { return nil }
func (s storedImages) Config(string) (*v1.ConfigFile, error)      { return &v1.ConfigFile{}, nil }
func (s storedImages) Usage(context.Context) (image.Usage, error) { return image.Usage{Bytes: 7}, nil }
func (s storedImages) Dir() string                                { return s.dir }
func (b *bed) serveCRI(ctx context.Context, socket string) (done chan error) {
	s := criserver.New(criserver.Options{
		Socket: socket, Dir: filepath.Join(b.dir, "cri"), Runtime: b.rt, Images: storedImages{b.snapshots},
		Network: func() criserver.Network { return nil }, CgroupParent: b.cgroup, Version: "1.2.3",
	})
	done = make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return done
}

func throughCRI(b *bed) *contractor {
	ctx, cancel := context.WithCancel(context.Background())
	socket := filepath.Join(b.dir, "cri.sock")
	served := b.serveCRI(ctx, socket)
	c := &contractor{bed: b}
	var stop func()
	open := func() runtime.Runtime {
		rt, err := criclient.Open(ctx, socket, "")
		if err != nil {
			b.Fatal(err)
		}
		run, end := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- rt.Run(run) }()
		stop = func() {
			end()
			if err := <-done; err != nil {
				b.Errorf("client: %v", err)
			}
			rt.Close()
		}
		return rt
	}
	c.rt = open()
	c.reopen = func() runtime.Runtime { stop(); c.rt = open(); return c.rt }
	b.Cleanup(func() {
		stop()
		cancel()
		if err := <-served; err != nil {
			b.Errorf("server: %v", err)
		}
	})
	return c
}

// pod runs a sandbox that is removed at the end of the test.
func (c *contractor) pod() string {
	c.Helper()
	uid := newID()[:12]
	logs := filepath.Join(c.dir, "logs", uid)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		c.Fatal(err)
	}
	s := runtime.Sandbox{
		ID: uid + "-3", PodUID: uid, Namespace: "ns", Pod: "pod-" + uid, Attempt: 3, HostNetwork: true, LogDir: logs,
		CgroupParent: c.cgroup + "/pod" + uid, Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"note": "x"},
	}
	if err := c.rt.RunSandbox(c.Context(), s); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := c.rt.RemoveSandbox(ctx, s.ID); err != nil {
			c.Error(err)
		}
	})
	return s.ID
}

func (c *contractor) container(sandbox, script string, change ...func(*runtime.Container)) string {
	c.Helper()
	uid, _, _ := strings.Cut(sandbox, "-")
	spec := runtime.Container{
		SandboxID: sandbox, Name: "main", Attempt: 2, Image: "busybox", Command: []string{"/bin/sh", "-c", script},
		Env: []string{"GREETING=hello"}, LogPath: filepath.Join(c.dir, "logs", uid, newID()[:8]+".log"),
		Labels: map[string]string{"kind": "test"}, Security: runtime.Security{User: new(int64)},
	}
	for _, f := range change {
		f(&spec)
	}
	id, err := c.rt.CreateContainer(c.Context(), spec)
	if err != nil {
		c.Fatal(err)
	}
	return id
}

func (c *contractor) running(sandbox, script string, change ...func(*runtime.Container)) string {
	c.Helper()
	id := c.container(sandbox, script, change...)
	if err := c.rt.StartContainer(c.Context(), id); err != nil {
		c.Fatal(err)
	}
	return id
}

// until polls a container's status.
func (c *contractor) until(id string, state runtime.State) runtime.ContainerStatus {
	c.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		st, err := c.rt.Status(c.Context(), id)
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

var contract = map[string]func(*testing.T, *contractor){
	"sandbox":      contractSandbox,
	"lifecycle":    contractLifecycle,
	"stop":         contractStop,
	"events":       contractEvents,
	"exec":         contractExec,
	"exec cut off": contractExecCutOff,
	"attach":       contractAttach,
	"port forward": contractPortForward,
	"new agent":    contractNewAgent,
	"resources":    contractResources,
	"not found":    contractNotFound,
}

func contractSandbox(t *testing.T, c *contractor) {
	id := c.pod()
	st, err := c.rt.SandboxStatus(t.Context(), id)
	if err != nil || !st.Ready || st.ID != id || st.Pod != "pod-"+st.PodUID || st.Namespace != "ns" || st.Attempt != 3 || st.External ||
		!st.HostNetwork || st.Labels["app"] != "web" || st.Annotations["note"] != "x" || len(st.Annotations) != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	left := c.running(id, "sleep 1000")
	if err := c.rt.StopSandbox(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if st, err := c.rt.SandboxStatus(t.Context(), id); err != nil || st.Ready {
		t.Errorf("after its stop: %+v, %v", st, err)
	}
	if st := c.until(left, runtime.Exited); st.ExitCode != 137 {
		t.Errorf("%+v", st)
	}
}

func contractLifecycle(t *testing.T, c *contractor) {
	id := c.container(c.pod(), "echo $GREETING; sleep 0.05; exit 3")
	if st := c.until(id, runtime.Created); st.Name != "main" || st.Attempt != 2 || st.Image != "busybox" || st.PodUID == "" || st.Labels["kind"] != "test" {
		t.Errorf("created: %+v", st)
	}
	if err := c.rt.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	st := c.until(id, runtime.Exited)
	if st.ExitCode != 3 || st.Reason != "Error" || st.StartedAt.IsZero() || st.FinishedAt.Before(st.StartedAt) || st.User == nil || st.User.UID != 0 {
		t.Errorf("exited: %+v", st)
	}
	if log, err := os.ReadFile(st.LogPath); err != nil || !strings.HasSuffix(string(log), " stdout F hello\n") {
		t.Errorf("log %q, %v", log, err)
	}
	for range 2 { // again without harm
		if err := c.rt.RemoveContainer(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

func contractStop(t *testing.T, c *contractor) {
	sandbox := c.pod()
	polite := c.running(sandbox, "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
	rude := c.running(sandbox, "trap '' TERM; echo up; while :; do sleep 0.01; done", func(s *runtime.Container) { s.Name = "rude" })
	c.logLine(polite, "stdout F up")
	c.logLine(rude, "stdout F up")
	if err := c.rt.StopContainer(t.Context(), polite, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if st := c.until(polite, runtime.Exited); st.ExitCode != 7 {
		t.Errorf("polite: %+v", st)
	}
	if err := c.rt.StopContainer(t.Context(), rude, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if st := c.until(rude, runtime.Exited); st.ExitCode != 137 {
		t.Errorf("rude: %+v", st)
	}
}

func contractEvents(t *testing.T, c *contractor) {
	events := c.rt.Events(t.Context())
	sandbox := c.pod()
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

func contractExec(t *testing.T, c *contractor) {
	id := c.running(c.pod(), "sleep 1000")
	for _, short := range []bool{true, false} {
		var out, errOut bytes.Buffer
		code, err := c.rt.Exec(t.Context(), id, runtime.Exec{Command: []string{"sh", "-c", "echo out; echo err >&2; exit 5"}, Short: short, Stdout: &out, Stderr: &errOut})
		if code != 5 || err != nil || out.String() != "out\n" || errOut.String() != "err\n" {
			t.Errorf("short %v: %d, %v, %q, %q", short, code, err, out.String(), errOut.String())
		}
	}
	var out bytes.Buffer
	code, err := c.rt.Exec(t.Context(), id, runtime.Exec{Command: []string{"wc", "-c"}, Stdin: strings.NewReader(strings.Repeat("x", 1<<20)), Stdout: &out})
	if code != 0 || err != nil || strings.TrimSpace(out.String()) != "1048576" {
		t.Errorf("with stdin: %d, %v, %q", code, err, out.String())
	}
	out.Reset()
	size := make(chan runtime.Size, 1)
	size <- runtime.Size{Width: 91, Height: 33}
	code, err = c.rt.Exec(t.Context(), id, runtime.Exec{Command: []string{"sh", "-c", "sleep 0.3; stty size"}, TTY: true, Stdout: &out, Resize: size})
	if code != 0 || err != nil || strings.TrimSpace(out.String()) != "33 91" {
		t.Errorf("with a terminal: %d, %v, %q", code, err, out.String())
	}
}

func contractExecCutOff(t *testing.T, c *contractor) {
	id := c.running(c.pod(), "sleep 1000")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.rt.Exec(ctx, id, runtime.Exec{Command: []string{"sleep", "999"}, Short: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var out bytes.Buffer
		if _, err := c.rt.Exec(t.Context(), id, runtime.Exec{Command: []string{"ps"}, Short: true, Stdout: &out}); err != nil {
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

func contractAttach(t *testing.T, c *contractor) {
	id := c.running(c.pod(), "while read line; do echo got $line; done; echo end", func(s *runtime.Container) { s.Stdin, s.StdinOnce = true, true })
	in, feed := io.Pipe()
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- c.rt.Attach(t.Context(), id, runtime.Exec{Stdin: in, Stdout: write})
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

func contractPortForward(t *testing.T, c *contractor) {
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
	sandbox := c.pod()
	near, far := net.Pipe()
	done := make(chan error, 1)
	port := int32(listener.Addr().(*net.TCPAddr).Port)
	go func() { done <- c.rt.PortForward(t.Context(), sandbox, port, far) }()
	go func() { _, _ = io.WriteString(near, "hello") }()
	buf := make([]byte, 5)
	if _, err := io.ReadFull(near, buf); err != nil || string(buf) != "hello" {
		t.Errorf("%q, %v", buf, err)
	}
	near.Close()
	<-done
	listener.Close()
	_, far = net.Pipe()
	if err := c.rt.PortForward(t.Context(), sandbox, port, far); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a port that nobody listens on: %v", err)
	}
}

func contractNewAgent(t *testing.T, c *contractor) {
	sandbox := c.pod()
	id := c.running(sandbox, "sleep 1000")
	c.rt = c.reopen()
	sandboxes, containers, err := c.rt.List(t.Context())
	if err != nil || len(sandboxes) != 1 || sandboxes[0].ID != sandbox || sandboxes[0].External || len(containers) != 1 ||
		containers[0].ID != id || containers[0].SandboxID != sandbox || containers[0].State != runtime.Running {
		t.Errorf("%+v, %+v, %v", sandboxes, containers, err)
	}
	other := c.running(sandbox, "sleep 1000", func(s *runtime.Container) { s.Name = "other" })
	if st := c.until(other, runtime.Running); st.SandboxID != sandbox {
		t.Errorf("%+v", st)
	}
}

func contractResources(t *testing.T, c *contractor) {
	sandbox := c.pod()
	id := c.running(sandbox, "sleep 1000", func(s *runtime.Container) { s.Resources = runtime.Resources{CPUShares: 100, MemoryLimit: 64 << 20} })
	if err := c.rt.UpdateResources(t.Context(), id, runtime.Resources{CPUShares: 200, MemoryLimit: 128 << 20}); err != nil {
		t.Error(err)
	}
	if err := c.rt.UpdateResources(t.Context(), sandbox, runtime.Resources{CPUShares: 300}); err != nil {
		t.Error(err)
	}
	stats, err := c.rt.Stats(t.Context(), id)
	if err != nil || len(stats) != 1 || stats[0].ContainerID != id || stats[0].MemoryUsage == 0 || stats[0].At.IsZero() {
		t.Errorf("%+v, %v", stats, err)
	}
	if st, err := c.rt.SandboxStats(t.Context(), sandbox); err != nil || st.MemoryUsage == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	oom := c.running(sandbox, "exec tail /dev/zero", func(s *runtime.Container) { s.Name, s.Resources.MemoryLimit = "oom", 32<<20 })
	if st := c.until(oom, runtime.Exited); st.ExitCode != 137 || !st.OOMKilled || st.Reason != "OOMKilled" {
		t.Errorf("%+v", st)
	}
}

func contractNotFound(t *testing.T, c *contractor) {
	ctx := t.Context()
	_, statusErr := c.rt.Status(ctx, "none")
	_, sandboxErr := c.rt.SandboxStatus(ctx, "none-0")
	_, createErr := c.rt.CreateContainer(ctx, runtime.Container{SandboxID: "none-0", Name: "x", Image: "busybox"})
	for i, err := range []error{statusErr, sandboxErr, createErr, c.rt.StartContainer(ctx, "none")} {
		if !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("%d: %v", i, err)
		}
	}
	for i, err := range []error{c.rt.StopContainer(ctx, "none", 0), c.rt.RemoveContainer(ctx, "none"), c.rt.StopSandbox(ctx, "none-0"), c.rt.RemoveSandbox(ctx, "none-0")} {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// TestOthersSandboxes: what another client makes is marked, and listed with what it gave.
func TestOthersSandboxes(t *testing.T) {
	b := newBed(t)
	c := throughCRI(b)
	id := c.pod()
	sandboxes, _, err := b.rt.List(t.Context())
	if err != nil || len(sandboxes) != 1 || !sandboxes[0].External || sandboxes[0].ID == id || sandboxes[0].Attempt != 3 {
		t.Errorf("%+v, %v", sandboxes, err)
	}
}
