package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"clipper/sandbox"
)

// ownCluster makes a cluster for one test, which may do to it what others would not survive. options are those of
// sandbox create.
func ownCluster(t *testing.T, nodes int, options ...string) *user {
	t.Helper()
	shared := need(t)
	c := &testCluster{clipper: shared.clipper, name: fmt.Sprintf("%s-own", shared.name)}
	u := c.user(t, "default")
	t.Cleanup(func() {
		logs, _ := filepath.Glob(filepath.Join(sandboxDir(c.name), "nodes", "*", "log"))
		for _, log := range logs {
			if crash := crashIn(log); crash != "" {
				t.Errorf("%s:\n%s", log, crash)
			}
		}
		u.clipperRun("sandbox", "delete", c.name)
	})
	u.clipperRun(append([]string{"sandbox", "create", c.name, "--nodes", strconv.Itoa(nodes)}, options...)...)
	u.clipperRun("sandbox", "image-load", c.name, imagesDir()+"/busybox.tar")
	c.kubeconfig = sandbox.KubeconfigPath(c.name)
	return u
}

// crashIn returns what a program that has crashed has said of it in its log.
func crashIn(path string) string {
	const enough = 60 // lines: the goroutine that did it comes first
	data, _ := os.ReadFile(path)
	lines := strings.Split(string(data), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") || strings.HasPrefix(l, "SIG") || strings.HasPrefix(l, "unexpected fault") {
			return strings.Join(lines[i:min(len(lines), i+enough)], "\n")
		}
	}
	return ""
}

// clipperRun runs the binary; failure ends the test.
func (u *user) clipperRun(args ...string) string {
	u.t.Helper()
	out, err := exec.Command(u.clipper, args...).Output()
	if err != nil {
		var said []byte
		if exit, ok := err.(*exec.ExitError); ok {
			said = exit.Stderr
		}
		u.t.Fatalf("clipper %s: %v\n%s%s", strings.Join(args, " "), err, out, said)
	}
	return string(out)
}

// nodeProcess finds a node's process.
func (u *user) nodeProcess(node string) int {
	u.t.Helper()
	pid, err := agentOf(u.name, node)
	if err != nil {
		u.t.Fatal(err)
	}
	return pid
}

// TestKilledServerAndAgent kills control plane and agent with -9 while pods run: what was acknowledged is
// there afterwards, containers have not noticed, and what ended meanwhile is reported with its code.
func TestKilledServerAndAgent(t *testing.T) {
	u := ownCluster(t, 1)
	u.must("run", "stays", "--image=busybox:1.36", "--", "sleep", "1000")
	u.must("run", "ends", "--image=busybox:1.36", "--restart=Never", "--", "sh", "-c", "while ! [ -e /tmp/go ]; do sleep 0.1; done; sleep 1; exit 7")
	u.phase("stays", "Running")
	u.phase("ends", "Running")
	const identity = "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}"
	before := u.must("get", "pod", "stays", "-o", identity)
	u.must("exec", "ends", "--", "touch", "/tmp/go")
	u.must("create", "configmap", "acknowledged", "--from-literal=a=b")
	pid := u.nodeProcess("node-1")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
	if r := u.try("get", "pods", "--request-timeout=2s"); r.code == 0 {
		t.Error("the API answers after its process was killed")
	}
	waitFor(t, "the second pod's process to end", func() bool { return !processNamed(t, "/tmp/go") })

	u.clipperRun("sandbox", "create", u.name)
	if out := u.must("get", "configmap", "acknowledged", "-o", "jsonpath={.data.a}"); out != "b" {
		t.Errorf("the acknowledged write says %q", out)
	}
	u.eventually(30*time.Second, is("Failed 7"), "get", "pod", "ends", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}")
	u.eventually(30*time.Second, is("True"), "get", "pod", "stays", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	if after := u.must("get", "pod", "stays", "-o", identity); after != before {
		t.Errorf("container and restarts went from %q to %q", before, after)
	}
	u.must("exec", "stays", "--", "true")

	// Asked politely, it is gone within a second, and its containers again are not.
	pid = u.nodeProcess("node-1")
	start := time.Now()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
	if took := time.Since(start); took > 3*time.Second { // a second, and room for a busy machine
		t.Errorf("SIGTERM took %s", took)
	}
	u.clipperRun("sandbox", "create", u.name)
	if after := u.must("get", "pod", "stays", "-o", identity); after != before {
		t.Errorf("after SIGTERM: %q, want %q", after, before)
	}
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("process %d to end", pid), func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	})
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// processNamed reports whether some process has text in its command line.
func processNamed(t *testing.T, text string) bool {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if data, err := os.ReadFile(l); err == nil && bytes.Contains(data, []byte("[ -e "+text+" ]")) {
			return true
		}
	}
	return false
}
