package embedded

import (
	"fmt"
	"math/rand/v2"
	"os"
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
