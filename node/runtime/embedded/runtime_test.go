package embedded

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"clipper/node/runtime"
)

func TestLifecycle(t *testing.T) {
	b := newBed(t)
	events := b.rt.Events(t.Context())
	sb := b.sandbox()
	id := b.create(sb, "echo out; echo err >&2; sleep 0.05; exit 3")
	if st := b.status(id); st.State != runtime.Created || st.PodUID != "uid-"+sb || len(id) != 64 || st.ImageID != "docker.io/library/busybox@sha256:1" {
		t.Errorf("after create: %+v", st)
	}
	b.start(id)
	st := b.wait(id)
	if st.State != runtime.Exited || st.ExitCode != 3 || st.Reason != "Error" || st.StartedAt.IsZero() || st.FinishedAt.Before(st.StartedAt) {
		t.Errorf("after exit: %+v", st)
	}
	if got, want := b.log(id), []string{"stdout F out", "stderr F err"}; !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("log %q, want %q", got, want)
	}
	last := runtime.Created
	for last != runtime.Exited { // merged events may skip states, never the last one
		select {
		case e := <-events:
			if e.ContainerID == id {
				last = e.State
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("no exit event; last state %v", last)
		}
	}
	if err := b.rt.RemoveContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := b.rt.Status(t.Context(), id); err == nil {
		t.Error("a removed container has a status")
	}
	for _, again := range []error{b.rt.RemoveContainer(t.Context(), id), b.rt.StopContainer(t.Context(), id, 0), b.rt.RemoveSandbox(t.Context(), "unknown")} {
		if again != nil {
			t.Errorf("repeated removal: %v", again)
		}
	}
}

func sorted(s []string) []string { s = slices.Clone(s); slices.Sort(s); return s }

func TestStop(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	polite := b.run(sb, "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
	rude := b.run(sb, "trap '' TERM; echo up; while :; do sleep 0.01; done")
	b.logLine(polite, "stdout F up")
	b.logLine(rude, "stdout F up")
	if err := b.rt.StopContainer(t.Context(), polite, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if st := b.status(polite); st.ExitCode != 7 {
		t.Errorf("polite: %+v", st)
	}
	if err := b.rt.StopContainer(t.Context(), rude, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if st := b.status(rude); st.ExitCode != 137 || st.Signal != 9 || st.OOMKilled {
		t.Errorf("rude: %+v", st)
	}
}

func TestStartErrors(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := b.create(sb, "", func(c *runtime.Container) { c.Command = []string{"no-such-program"} })
	err := b.rt.StartContainer(t.Context(), id)
	const want = `exec: "no-such-program": executable file not found in $PATH: unknown`
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v, want …%s", err, want)
	}
	if st := b.status(id); st.State != runtime.Exited || st.ExitCode != 128 || st.Reason != "StartError" || !strings.HasSuffix(st.Message, want) {
		t.Errorf("status %+v", st)
	}
	_, err = b.rt.CreateContainer(t.Context(), runtime.Container{SandboxID: sb, Name: "none", Image: "busybox"})
	if err == nil || !strings.Contains(err.Error(), "no command specified") {
		t.Errorf("without a command: %v", err)
	}
	_, err = b.rt.CreateContainer(t.Context(), runtime.Container{SandboxID: "unknown", Name: "none", Image: "busybox"})
	if err == nil {
		t.Error("a container in an unknown sandbox")
	}
}

func TestLogs(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := b.run(sb, `head -c 16384 /dev/zero | tr '\0' a; echo; head -c 16385 /dev/zero | tr '\0' b; echo; echo; printf tail`,
		func(c *runtime.Container) { c.Command = []string{"/bin/busybox", "sh", "-c", c.Command[2]} })
	if st := b.wait(id); st.ExitCode != 0 {
		t.Fatalf("%+v", st)
	}
	a, bb := strings.Repeat("a", 16384), strings.Repeat("b", 16384)
	want := []string{"stdout F " + a, "stdout P " + bb, "stdout F b", "stdout F ", "stdout P tail"}
	if got := b.log(id); !slices.Equal(got, want) {
		for _, l := range got {
			t.Logf("%.20s… (%d)", l, len(l))
		}
		t.Error("wrong log")
	}
	moved := b.status(id).LogPath + ".old"
	chatty := b.run(sb, "echo one; while ! test -e /go; do sleep 0.01; done; echo two")
	b.logLine(chatty, "stdout F one")
	path := b.status(chatty).LogPath
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	if err := b.rt.ReopenLog(t.Context(), chatty); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.snapshots.file(chatty, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.wait(chatty)
	if got := b.log(chatty); !slices.Equal(got, []string{"stdout F two"}) {
		t.Errorf("after reopening: %q", got)
	}
}

func TestExec(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := b.run(sb, "sleep 1000", func(c *runtime.Container) { c.Env = []string{"COLOUR=blue"} })
	exec := func(e runtime.Exec) (int, string, string, error) {
		var out, errs bytes.Buffer
		e.Stdout = &out
		if !e.TTY {
			e.Stderr = &errs
		}
		code, err := b.rt.Exec(t.Context(), id, e)
		return code, out.String(), errs.String(), err
	}
	code, out, errs, err := exec(runtime.Exec{Command: []string{"sh", "-c", "echo $COLOUR; echo oops >&2; exit 5"}})
	if code != 5 || out != "blue\n" || errs != "oops\n" || err != nil {
		t.Errorf("exit code: %d %q %q %v", code, out, errs, err)
	}
	big := strings.Repeat("0123456789abcdef", 1<<16)
	code, out, _, err = exec(runtime.Exec{Command: []string{"cat"}, Stdin: strings.NewReader(big)})
	if code != 0 || out != big || err != nil {
		t.Errorf("stdin: %d, %d bytes, %v", code, len(out), err)
	}
	sizes := make(chan runtime.Size, 1)
	sizes <- runtime.Size{Width: 91, Height: 37}
	code, out, _, err = exec(runtime.Exec{Command: []string{"sh", "-c", "stty size; echo $TERM; exit 4"}, TTY: true, Resize: sizes})
	if code != 4 || out != "37 91\r\nxterm\r\n" || err != nil {
		t.Errorf("terminal: %d %q %v", code, out, err)
	}
	_, _, _, err = exec(runtime.Exec{Command: []string{"nope"}})
	if err == nil || !strings.HasSuffix(err.Error(), `exec: "nope": executable file not found in $PATH: unknown`) {
		t.Errorf("not found: %v", err)
	}
	began := time.Now()
	code, out, _, err = exec(runtime.Exec{Command: []string{"sh", "-c", "sleep 500 & echo left"}})
	if code != 0 || out != "left\n" || err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("a child that keeps stdout: %d %q %v after %v", code, out, err, time.Since(began))
	}
}

func TestExecCancelled(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := b.run(sb, "sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	read, write, _ := os.Pipe()
	defer read.Close()
	done := make(chan error, 1)
	go func() {
		_, err := b.rt.Exec(ctx, id, runtime.Exec{Command: []string{"sh", "-c", "echo up; exec sleep 999"}, Stdout: write})
		done <- err
	}()
	if _, err := read.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a cancelled exec succeeded")
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var out bytes.Buffer
		if _, err := b.rt.Exec(t.Context(), id, runtime.Exec{Command: []string{"ps"}, Stdout: &out}); err != nil {
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

func TestAttach(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := b.run(sb, "while read line; do echo got $line; done; echo end", func(c *runtime.Container) { c.Stdin, c.StdinOnce = true, true })
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	done := make(chan error, 1)
	go func() { done <- b.rt.Attach(t.Context(), id, runtime.Exec{Stdin: in, Stdout: write}); write.Close() }()
	if _, err := feed.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := read.Read(buf)
	if err != nil || string(buf[:n]) != "got hello\n" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	feed.Close() // stdin once: the container's stdin ends
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n, _ = read.Read(buf); string(buf[:n]) != "end\n" {
		t.Errorf("read %q", buf[:n])
	}
	if st := b.wait(id); st.ExitCode != 0 {
		t.Errorf("%+v", st)
	}
	if got, want := b.log(id), []string{"stdout F got hello", "stdout F end"}; !slices.Equal(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
}

func TestOOM(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := b.run(sb, "exec tail /dev/zero", func(c *runtime.Container) { c.Resources.MemoryLimit = 32 << 20 })
	if st := b.wait(id); st.ExitCode != 137 || !st.OOMKilled || st.Reason != "OOMKilled" {
		t.Errorf("%+v", st)
	}
}

func TestAgentKilled(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	lives := b.run(sb, "sleep 1000")
	ends := b.run(sb, "while ! test -e /go; do sleep 0.01; done; exit 9")
	before, pid := b.status(lives), b.shimPid()
	b.stopRun()
	if err := os.WriteFile(b.snapshots.file(ends, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.open()
	if st := b.wait(ends); st.ExitCode != 9 {
		t.Errorf("an exit while no agent was there: %+v", st)
	}
	after := b.status(lives)
	if after.State != runtime.Running || after.Pid != before.Pid || b.shimPid() != pid {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestShimKilled(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	counter := b.run(sb, "i=0; while :; do i=$((i+1)); echo $i; sleep 0.005; done")
	ends := b.run(sb, "while ! test -e /go; do sleep 0.01; done; exit 9")
	b.logLine(counter, "stdout F 3")
	before := b.status(counter)
	b.killShim()
	b.rt.client.dropIdle()
	if st := b.status(counter); st.State != runtime.Running || st.Pid != before.Pid {
		t.Fatalf("before %+v, after %+v", before, st)
	}
	n := len(b.log(counter))
	b.logLine(counter, fmt.Sprintf("stdout F %d", n+20))
	var out bytes.Buffer
	if code, err := b.rt.Exec(t.Context(), counter, runtime.Exec{Command: []string{"echo", "hi"}, Stdout: &out}); code != 0 || err != nil || out.String() != "hi\n" {
		t.Errorf("exec in an adopted container: %d %q %v", code, out.String(), err)
	}
	if err := os.WriteFile(b.snapshots.file(ends, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if st := b.wait(ends); st.ExitCode != 9 && st.ExitCode != 137 {
		t.Errorf("exit of an adopted container: %+v", st)
	} else if st.ExitCode != 9 {
		t.Log("this kernel does not tell exit codes of adopted containers")
	}
	if err := b.rt.StopContainer(t.Context(), counter, 0); err != nil {
		t.Fatal(err)
	}
	if st := b.status(counter); st.ExitCode != 137 {
		t.Errorf("%+v", st)
	}
	lines := b.log(counter)
	for i, l := range lines { // none lost, none twice
		if l != fmt.Sprintf("stdout F %d", i+1) {
			t.Fatalf("line %d is %q", i+1, l)
		}
	}
}
