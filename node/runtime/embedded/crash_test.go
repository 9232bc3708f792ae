package embedded

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"clipper/node/runtime"
	"clipper/node/runtime/embedded/wire"
)

// TestShimKilledAnytime kills the shim at random moments while pods come and go. Whatever was under way may fail;
// afterwards every container that is said to run does, and everything can be removed without a trace, which
// the bed checks.
func TestShimKilledAnytime(t *testing.T) {
	b := newBed(t)
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		var pods sync.WaitGroup
		for i := range 4 {
			pods.Go(func() { b.comeAndGo(fmt.Sprintf("r%dp%d", round, i)) })
		}
		time.Sleep(rand.N(150 * time.Millisecond)) // the moment is the point
		b.killShim()
		pods.Wait()
		b.checkRunning()
		// Asked of the shim itself: what the agent remembers may be from before the kill.
		resp, err := b.rt.call(t.Context(), &wire.Request{Op: wire.OpList})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range resp.Sandboxes {
			if n := len(s.ID); s.ID[n-1] == '1' { // half made or not: asked for again, it comes up
				if err := b.rt.RunSandbox(t.Context(), *s.Spec); err != nil {
					t.Errorf("round %d: run %s again: %v", round, s.ID, err)
				}
			}
			if err := b.rt.RemoveSandbox(t.Context(), s.ID); err != nil {
				t.Errorf("round %d: remove %s: %v", round, s.ID, err)
			}
		}
		b.checkLeaks()
		if t.Failed() {
			return
		}
	}
}

// TestShimKilledBeforeRelease: a shim that ends between the record of a container's end and the removal of what it
// left has the next one finish.
func TestShimKilledBeforeRelease(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := b.run(sb, "sleep 1000", func(c *runtime.Container) { c.TTY, c.Stdin = true, true })
	state := filepath.Join(b.dir, "runtime/libcontainer", id)
	while := filepath.Join(b.dir, "while-it-ran")
	if err := os.CopyFS(while, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	if err := b.rt.StopContainer(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	ended := b.wait(id)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // told before it is released
		if _, err := os.Stat(state); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s stays", state)
		}
	}
	b.killShim()
	if err := os.Rename(while, state); err != nil { // as if it had been killed that moment earlier
		t.Fatal(err)
	}
	if is := b.status(id); is.ExitCode != ended.ExitCode || !is.FinishedAt.Equal(ended.FinishedAt) {
		t.Errorf("ended as %+v, told now as %+v", ended, is)
	}
	if _, err := b.rt.call(t.Context(), &wire.Request{Op: wire.OpList}); err != nil { // the next shim is up
		t.Fatal(err)
	}
	if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %s, %v", state, err)
	}
}

// comeAndGo runs a pod, stops at the first error, and removes one of its containers.
func (b *bed) comeAndGo(id string) {
	ctx := b.Context()
	s := runtime.Sandbox{ID: id, PodUID: id, Hostname: id, CgroupParent: b.cgroup + "/" + id, SharedPID: id[len(id)-1] < '2'}
	if b.rt.RunSandbox(ctx, s) != nil {
		return
	}
	for i := range 3 {
		c := runtime.Container{SandboxID: id, Name: "c", Image: "busybox", Command: []string{"sleep", "1000"}}
		cid, err := b.rt.CreateContainer(ctx, c)
		if err != nil || b.rt.StartContainer(ctx, cid) != nil {
			return
		}
		if i == 1 && b.rt.RemoveContainer(ctx, cid) != nil {
			return
		}
	}
}

// checkRunning compares what is said to run with the processes there are.
func (b *bed) checkRunning() {
	b.Helper()
	resp, err := b.rt.call(b.Context(), &wire.Request{Op: wire.OpList})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range resp.Containers {
		switch c.State {
		case runtime.Running:
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", c.Pid)); err != nil {
				b.Errorf("container %s is said to run: %v", c.ID, err)
			}
		case runtime.Exited:
			if c.ExitCode == 0 || c.FinishedAt.IsZero() || c.Reason == "" {
				b.Errorf("ended without an end: %+v", c)
			}
		}
	}
}

// TestAgentKilledWhileCreating: what an agent has begun and not finished is gone after the next one's start.
func TestAgentKilledWhileCreating(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := newID()
	reserve := &wire.Request{Op: wire.OpReserve, ID: id, Container: &wire.ContainerSpec{Status: runtime.ContainerStatus{SandboxID: sb}}}
	if _, err := b.rt.call(t.Context(), reserve); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.snapshots.Prepare(t.Context(), id, "busybox"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.snapshots.Prepare(t.Context(), "unknown", "busybox"); err != nil {
		t.Fatal(err)
	}
	if _, containers, err := b.rt.List(t.Context()); err != nil || len(containers) != 0 {
		t.Errorf("a reservation is listed: %+v, %v", containers, err)
	}
	b.reopen()
	if entries, err := os.ReadDir(b.snapshots.dir); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if _, err := b.rt.Status(t.Context(), id); err == nil {
		t.Error("the reservation is still there")
	}
}

// TestAgentKilledWhileStarting: the next agent sees a start that the last one has asked for, however it ends.
func TestAgentKilledWhileStarting(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	for range 10 {
		id := b.create(sb, "sleep 1000")
		conn, err := b.rt.client.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Send(&wire.Request{Op: wire.OpStart, ID: id}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(10 * time.Millisecond)) // the moment is the point
		conn.Close()
		resp, err := b.rt.client.call(t.Context(), &wire.Request{Op: wire.OpList})
		if err != nil {
			t.Fatal(err)
		}
		was := stateIn(resp, id)
		time.Sleep(100 * time.Millisecond) // longer than a start
		if resp, err = b.rt.client.call(t.Context(), &wire.Request{Op: wire.OpList}); err != nil {
			t.Fatal(err)
		}
		if is := stateIn(resp, id); is != was {
			t.Errorf("the state went from %d to %d after the agent was gone", was, is)
		}
	}
}

func stateIn(resp *wire.Response, id string) runtime.State {
	for _, c := range resp.Containers {
		if c.ID == id {
			return c.State
		}
	}
	return -1
}

// TestShimReplaced: the shim becomes another build of itself. It stays the parent of all, and knows how they end.
func TestShimReplaced(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox(func(s *runtime.Sandbox) { s.SharedPID = true })
	counter := b.run(sb, "i=0; while :; do i=$((i+1)); echo $i; sleep 0.005; done")
	ends := b.run(sb, "echo -n start; while ! test -e /go; do sleep 0.01; done; echo -n end; exit 9")
	terminal := b.run(sb, "stty -echo; echo ready; read x; echo got $x; exit 6", func(c *runtime.Container) { c.TTY, c.Stdin = true, true })
	b.logLine(terminal, "stdout F ready\r")
	b.logLine(counter, "stdout F 3")
	long := make(chan error, 1)
	go func() { // what is exec'd then is ended
		code, err := b.rt.Exec(t.Context(), counter, runtime.Exec{Command: []string{"sleep", "1000"}})
		if err == nil && code == 0 {
			err = errors.New("it ended by itself")
		}
		long <- err
	}()
	before, pid := b.status(counter), b.shimPid()

	if err := b.replaceShim("/nowhere"); err == nil {
		t.Error("the shim became a program that there is not")
	}
	for round := range 3 {
		next := filepath.Join(b.dir, "bin", fmt.Sprintf("next-%d", round))
		if err := os.Link(b.opts.ShimPath, next); err != nil {
			t.Fatal(err)
		}
		if err := b.replaceShim(next); err != nil {
			t.Fatal(err)
		}
		b.rt.client.dropIdle()
		resp, err := b.rt.client.call(t.Context(), &wire.Request{Op: wire.OpHello})
		if err != nil || resp.Hello.Pid != pid || resp.Hello.Build != next {
			t.Fatalf("%+v, %v; want process %d and build %s", resp.Hello, err, pid, next)
		}
	}
	<-long // whatever the agent makes of a connection that breaks
	if st := b.status(counter); st.State != runtime.Running || st.Pid != before.Pid {
		t.Errorf("before %+v, after %+v", before, st)
	}
	if err := os.WriteFile(b.snapshots.file(ends, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if st := b.wait(ends); st.ExitCode != 9 { // on any kernel: it is the shim's child
		t.Errorf("%+v", st)
	}
	if got := strings.Join(b.log(ends), "\n"); got != "stdout P start\nstdout P end" {
		t.Errorf("%q", got)
	}
	b.say(terminal, "word\n")
	if st := b.wait(terminal); st.ExitCode != 6 {
		t.Errorf("%+v", st)
	}
	if err := b.rt.StopContainer(t.Context(), counter, 0); err != nil {
		t.Fatal(err)
	}
	for i, l := range b.log(counter) { // none lost, none twice
		if l != fmt.Sprintf("stdout F %d", i+1) {
			t.Fatalf("line %d is %q", i+1, l)
		}
	}
	if err := b.rt.RemoveSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil || len(children) != 0 {
		t.Errorf("children left: %s, %v", children, err)
	}
}

// replaceShim has the shim become the program at path, with the path for a hash.
func (b *bed) replaceShim(path string) error {
	conn, err := b.rt.client.dial(b.Context())
	if err != nil {
		return err
	}
	defer conn.Close()
	return b.rt.client.farewell(b.Context(), conn, &wire.Request{Op: wire.OpReplace, Replace: &wire.Build{Path: path, Hash: path}})
}
