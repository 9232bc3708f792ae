package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/node/kubeletconfig"
)

// lab gives the test a directory of sandboxes of its own and a sandbox in it, gone when the test ends.
func lab(t *testing.T) Sandbox {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	t.Setenv(DirEnv, t.TempDir())
	s, err := Named(fmt.Sprintf("t%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Delete(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s Sandbox) mustCreate(t *testing.T, o Options) {
	t.Helper()
	o.Timeout = 20 * time.Second
	if err := s.Create(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

// traces lists what there is of a sandbox on the machine.
func traces(t *testing.T, s Sandbox) []string {
	t.Helper()
	var out []string
	if s.exists() {
		out = append(out, s.dir)
	}
	mounts, err := s.mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		out = append(out, "mount "+m.path)
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + s.cgroup())
	out = append(out, groups...)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		args, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if bytes.Contains(args, []byte(s.dir)) || bytes.Contains(env, []byte(DirEnv+"="+root()+"\x00")) && bytes.Contains(args, []byte("pod\x00")) {
			out = append(out, "process "+e.Name()+" "+string(args))
		}
	}
	return out
}

func TestLife(t *testing.T) {
	s := lab(t)
	start := time.Now()
	s.mustCreate(t, Options{Nodes: 3})
	t.Logf("3 nodes that do nothing: %s", time.Since(start))
	if st, err := os.Stat(KubeconfigPath(s.Name)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v, %v", st.Mode(), err)
	}
	rec, _, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	s.mustCreate(t, Options{})
	again, _, err := s.load()
	if err != nil || again.Port != rec.Port || fmt.Sprint(again.Processes) != fmt.Sprint(rec.Processes) {
		t.Errorf("a second create changed %+v to %+v, %v", rec, again, err)
	}
	if err := s.Create(context.Background(), Options{Nodes: 2}); err == nil || !strings.Contains(err.Error(), "exists with 3 nodes") {
		t.Errorf("another number of nodes: %v", err)
	}

	// One node killed, then the server: create brings them back at the same address.
	for _, node := range []int{3, 1} {
		if err := unix.Kill(again.Processes[node].PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitGone(t, again.Processes[node])
	}
	list, err := List()
	if err != nil || len(list) != 1 || list[0].Running != 1 || list[0].Nodes != 3 {
		t.Errorf("list %+v, %v", list, err)
	}
	if err := unix.Kill(again.Processes[2].PID, unix.SIGKILL); err != nil { // has joined the server that is gone
		t.Fatal(err)
	}
	waitGone(t, again.Processes[2])
	s.mustCreate(t, Options{})
	last, _, err := s.load()
	if err != nil || last.Port != rec.Port || len(last.Processes) != 3 {
		t.Errorf("after restart %+v, %v", last, err)
	}

	if len(traces(t, s)) == 0 {
		t.Fatal("traces finds nothing of a sandbox that runs")
	}
	if err := s.Delete(); err != nil {
		t.Fatal(err)
	}
	if left := traces(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := s.Delete(); err != nil {
		t.Errorf("the second delete: %v", err)
	}
}

func waitGone(t *testing.T, p process) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); p.alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d does not end", p.PID)
		}
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	for _, node := range []string{"node-1", "node-2"} {
		s := lab(t)
		t.Setenv("FAKE_NODE_FAILS", node)
		err := s.Create(context.Background(), Options{Nodes: 2, Timeout: 20 * time.Second})
		if err == nil || !strings.Contains(err.Error(), node+" was told to fail") {
			t.Errorf("%s fails: %v", node, err)
		}
		if left := traces(t, s); len(left) > 0 {
			t.Errorf("%s fails: left behind %q", node, left)
		}
	}
}

// A create that dies at any moment leaves what delete removes.
func TestDeleteAfterCrash(t *testing.T) {
	s := lab(t)
	for _, after := range []time.Duration{0, 5, 20, 60, 120, 200, 300} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCreateForCrash$")
		cmd.Env = append(os.Environ(), "CREATE_SANDBOX="+s.Name)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(after*time.Millisecond, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // killed, or done
		timer.Stop()
		if err := s.Delete(); err != nil {
			t.Fatalf("killed after %d ms: %v", after, err)
		}
		if left := traces(t, s); len(left) > 0 {
			t.Fatalf("killed after %d ms: left behind %q", after, left)
		}
	}
}

func TestCreateForCrash(t *testing.T) {
	name := os.Getenv("CREATE_SANDBOX")
	if name == "" {
		t.Skip("is run by TestDeleteAfterCrash")
	}
	s, err := Named(name)
	if err != nil {
		t.Fatal(err)
	}
	s.mustCreate(t, Options{Nodes: 2})
}

func TestExec(t *testing.T) {
	s := lab(t)
	s.mustCreate(t, Options{Nodes: 1})
	run := func(args ...string) string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestExecChild$")
		cmd.Env = append(os.Environ(), "EXEC_SANDBOX="+s.Name, "EXEC_ARGS="+strings.Join(args, "\x1f"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if out := run("cat", "/etc/resolv.conf"); !strings.Contains(out, "nameserver 10.43.0.10") {
		t.Errorf("resolv.conf: %s", out)
	}
	out := run("sh", "-c", "cat /proc/net/fib_trie; echo $KUBECONFIG")
	if !strings.Contains(out, clientIP.String()) || !strings.Contains(out, s.insideKubeconfig()) {
		t.Errorf("inside: %s", out)
	}
	if host, err := os.ReadFile("/etc/resolv.conf"); err == nil && bytes.Contains(host, []byte("10.43.0.10")) {
		t.Error("the machine's resolv.conf was changed")
	}
}

func TestExecChild(t *testing.T) {
	name := os.Getenv("EXEC_SANDBOX")
	if name == "" {
		t.Skip("is run by TestExec")
	}
	s, err := Named(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Fatal(s.Exec(strings.Split(os.Getenv("EXEC_ARGS"), "\x1f")))
}

// Files below a mount that somebody made in the sandbox's directory survive its deletion.
func TestDeleteSparesMountedFiles(t *testing.T) {
	s := lab(t)
	s.mustCreate(t, Options{Nodes: 1})
	theirs := t.TempDir()
	if err := os.WriteFile(filepath.Join(theirs, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(s.nodeDir(1), "volume")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // one on top of the other
		if err := unix.Mount(theirs, inside, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(theirs, "precious")); err != nil {
		t.Error(err)
	}
}

func TestNotReady(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rec := record{Nodes: 4, Processes: map[int]process{1: {Since: since}, 2: {Since: since}, 3: {Since: since}, 4: {Since: since}}}
	node := func(i int, status corev1.ConditionStatus, heartbeat time.Time) corev1.Node {
		n := corev1.Node{}
		n.Name = nodeName(i)
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastHeartbeatTime: metav1.NewTime(heartbeat)}}
		return n
	}
	got := notReady([]corev1.Node{node(1, "True", since), node(2, "False", since), node(3, "True", since.Add(-time.Second))}, rec)
	if fmt.Sprint(got) != "[node-2 node-3 node-4]" {
		t.Errorf("not ready: %v; want 2, which says so, 3, which said it was before its start, and 4, which is missing", got)
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"default": true, "a": true, "e2e-12": true, "": false, "-a": false, "a-": false, "A": false,
		"..": false, "a/b": false, "a.b": false, strings.Repeat("a", 41): false} {
		if _, err := Named(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAncestorsEndAtInit(t *testing.T) {
	a := ancestors()
	if !a[os.Getpid()] || a[1] || slices.Contains([]int{len(a)}, 0) {
		t.Errorf("%v", a)
	}
}

// TestDefaultKubeletConfig: nodes take pods although the machine's disk is nearly full.
func TestDefaultKubeletConfig(t *testing.T) {
	s := lab(t)
	s.mustCreate(t, Options{})
	c, err := kubeletconfig.Load(s.kubeletConfig())
	if err != nil {
		t.Fatal(err)
	}
	if c.EvictionHard["nodefs.available"] != "0%" || c.EvictionHard["imagefs.available"] != "0%" || *c.ImageGCHighThresholdPercent != 100 {
		t.Errorf("thresholds: %v, images %d %%", c.EvictionHard, *c.ImageGCHighThresholdPercent)
	}
}

// TestKubeletConfig: all nodes get the settings, and one that is started again gets them without being told.
func TestKubeletConfig(t *testing.T) {
	s := lab(t)
	file := filepath.Join(t.TempDir(), "kubelet.yaml")
	if err := os.WriteFile(file, []byte("maxPods: 500\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mustCreate(t, Options{Nodes: 2, KubeletConfig: file})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := s.killAll(); err != nil {
		t.Fatal(err)
	}
	seen := func(node int) string { return filepath.Join(s.nodeDir(node), "config-seen") }
	if err := os.Remove(seen(1)); err != nil {
		t.Fatal(err)
	}
	s.mustCreate(t, Options{})
	for node := 1; node <= 2; node++ {
		c, err := kubeletconfig.Load(seen(node))
		if err != nil || c.MaxPods != 500 || c.EvictionHard["nodefs.available"] != "0%" {
			t.Errorf("node %d has seen %+v, %v", node, c, err)
		}
	}
}
