package embedded

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"clipper/node/runtime"
)

// output runs a script in a container to its end and returns what it said, without stream and tag.
func (b *bed) output(sandbox, script string, change ...func(*runtime.Container)) string {
	b.Helper()
	// One stream: of two, nobody can tell which line came first.
	id := b.run(sandbox, "exec 2>&1; "+script, change...)
	b.wait(id)
	var out []string
	for _, l := range b.log(id) {
		_, text, _ := strings.Cut(l, " ")
		out = append(out, text[2:])
	}
	return strings.Join(out, "\n")
}

func TestConfinement(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	caps := func(change ...func(*runtime.Container)) string {
		return b.output(sb, "while read k v; do case $k in CapEff:|CapBnd:|NoNewPrivs:|Seccomp:) echo $k$v;; esac; done </proc/self/status", change...)
	}
	// The fourteen default capabilities; a seccomp filter.
	if got, want := caps(), "CapEff:00000000a80425fb\nCapBnd:00000000a80425fb\nNoNewPrivs:0\nSeccomp:2"; got != want {
		t.Errorf("default: %s", got)
	}
	got := caps(func(c *runtime.Container) {
		c.Security.DropCapabilities, c.Security.AddCapabilities = []string{"ALL"}, []string{"NET_BIND_SERVICE"}
		c.Security.NoNewPrivileges, c.Security.Seccomp = true, "Unconfined"
	})
	if got != "CapEff:0000000000000400\nCapBnd:0000000000000400\nNoNewPrivs:1\nSeccomp:0" {
		t.Errorf("restricted: %s", got)
	}
	uid := int64(4711)
	if got := caps(func(c *runtime.Container) { c.Security.User = &uid }); !strings.HasPrefix(got, "CapEff:0000000000000000\nCapBnd:00000000a80425fb") {
		t.Errorf("as another user: %s", got)
	}
	if got := caps(func(c *runtime.Container) { c.Security.Privileged = true }); !strings.HasSuffix(got, "Seccomp:0") || strings.Contains(got, "CapEff:00000000a80425fb") {
		t.Errorf("privileged: %s", got)
	}
	if got := b.output(sb, "unshare -m true; echo $?"); !strings.HasSuffix(got, "1") || !strings.Contains(got, "not permitted") {
		t.Errorf("unshare: %q", got)
	}
	if got := b.output(sb, "echo x >/file; echo $?; echo y >/tmp/f; echo $?", func(c *runtime.Container) {
		c.Security.ReadOnlyRoot = true
		c.Mounts = []runtime.Mount{{Host: t.TempDir(), Container: "/tmp"}}
	}); !strings.HasSuffix(got, "1\n0") {
		t.Errorf("read-only root: %q", got)
	}
	if got := b.output(sb, "echo 1 >/proc/sys/net/ipv4/ip_forward; wc -c </proc/timer_list; ls /sys/firmware | wc -l"); !strings.HasSuffix(got, "0\n0") || !strings.Contains(got, "Read-only") {
		t.Errorf("proc and sys: %q", got)
	}
}

// TestFilterIsHandedOver: the compiled filter reaches processes that are set up, and no further.
func TestFilterIsHandedOver(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	const script = "for i in /proc/self/fd/*; do busybox readlink $i; done; while read k v; do case $k in Seccomp_filters:) echo $v;; esac; done </proc/self/status"
	id := b.run(sb, script+"; sleep 1000")
	b.logLine(id, "stdout F 1")
	var exec bytes.Buffer
	for range 2 { // the second time with what an adopted container is given
		exec.Reset()
		if code, err := b.rt.Exec(t.Context(), id, runtime.Exec{Command: []string{"sh", "-c", script + "; unshare -m true"}, Stdout: &exec, Stderr: &exec}); code != 1 || err != nil {
			t.Fatal(code, err)
		}
		for _, said := range []string{exec.String(), strings.Join(b.log(id), "\n")} {
			if strings.Contains(said, "memfd") || !strings.Contains(said, "1") {
				t.Errorf("%s", said)
			}
		}
		if !strings.Contains(exec.String(), "not permitted") {
			t.Errorf("%s", exec.String())
		}
		b.killShim()
		b.rt.client.dropIdle()
	}
	log, err := os.ReadFile(filepath.Join(b.dir, "runtime/shim.log"))
	if err != nil || bytes.Contains(log, []byte("compiling the seccomp filter")) {
		t.Errorf("the filter was not compiled beforehand: %v\n%s", err, log)
	}
}

func TestUsers(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := func(n int64) *int64 { return &n }
	for _, tc := range []struct {
		name, image string
		sec         runtime.Security
		want        string
	}{
		{"nothing said", "", runtime.Security{}, "uid=0(root) gid=0(root) groups=0(root)"},
		{"image user", "web", runtime.Security{}, "uid=1000(web) gid=1001(web) groups=1001(web),2000(extra)"},
		{"image ids", "1000:2000", runtime.Security{}, "uid=1000(web) gid=2000(extra) groups=2000(extra)"},
		{"pod over image", "web", runtime.Security{User: id(0)}, "uid=0(root) gid=0(root) groups=0(root)"},
		{"unknown id", "", runtime.Security{User: id(77)}, "uid=77 gid=0(root) groups=0(root)"},
		{"groups", "", runtime.Security{User: id(1000), Group: id(5), SupplementalGroups: []int64{9}}, "uid=1000(web) gid=5 groups=5,9,2000(extra)"},
		{"strict", "web", runtime.Security{SupplementalGroups: []int64{9}, SupplementalStrict: true}, "uid=1000(web) gid=1001(web) groups=9,1001(web)"},
	} {
		b.snapshots.config.User = tc.image
		if got := b.output(sb, "id", func(c *runtime.Container) { c.Security = tc.sec }); got != tc.want && !sameGroups(got, tc.want) {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	b.snapshots.config.User = "nobody-knows"
	_, err := b.rt.CreateContainer(t.Context(), runtime.Container{SandboxID: sb, Name: "x", Image: "busybox", Command: []string{"true"}})
	if err == nil || !strings.Contains(err.Error(), "unable to find user nobody-knows: no matching entries in passwd file") {
		t.Errorf("unknown user: %v", err)
	}
}

// sameGroups compares two outputs of id but for the order of groups.
func sameGroups(a, b string) bool {
	before := func(s string) (string, []string) {
		head, groups, _ := strings.Cut(s, " groups=")
		return head, sorted(strings.Split(groups, ","))
	}
	ah, ag := before(a)
	bh, bg := before(b)
	return ah == bh && slices.Equal(ag, bg)
}

func TestImageConfig(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	b.snapshots.config.Entrypoint = []string{"/bin/sh", "-c"}
	b.snapshots.config.Cmd = []string{"echo from image $A $B $HOSTNAME; pwd; hostname; cat /etc/hostname"}
	b.snapshots.config.Env = []string{"A=1", "B=2"}
	b.snapshots.config.WorkingDir = "/made/for/it"
	got := b.output(sb, "", func(c *runtime.Container) { c.Command, c.Env = nil, []string{"B=3"} })
	if want := "from image 1 3 pod-" + sb + "\n/made/for/it\npod-" + sb + "\npod-" + sb; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := b.output(sb, "", func(c *runtime.Container) { c.Command, c.Args = nil, []string{"echo args; pwd"}; c.WorkDir = "/tmp" }); got != "args\n/tmp" {
		t.Errorf("%q", got)
	}
}

func TestSharedNamespaces(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox(func(s *runtime.Sandbox) {
		s.SharedPID = true
		s.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1"}
	})
	other := b.sandbox()
	first := b.run(sb, "echo hi >/dev/shm/x; exec sleep 4242")
	script := "readlink /proc/self/ns/uts; readlink /proc/self/ns/ipc; cat /dev/shm/x /proc/sys/kernel/shm_rmid_forced; ps | grep -c 'sleep 424[2]'"
	busybox := func(c *runtime.Container) {
		c.Command = []string{"/bin/sh", "-c", "exec 2>&1; " + strings.ReplaceAll(strings.ReplaceAll(script, "readlink", "busybox readlink"), "grep", "busybox grep")}
	}
	_ = first
	here, there := strings.Split(b.output(sb, "", busybox), "\n"), strings.Split(b.output(other, "", busybox), "\n")
	if len(here) != 5 || here[2] != "hi" || here[3] != "1" || here[4] != "1" {
		t.Errorf("in the sandbox: %q", here)
	}
	if len(there) < 3 || there[0] == here[0] || there[1] == here[1] || there[len(there)-1] != "0" {
		t.Errorf("in another one: %q", there)
	}
	// What a container leaves running dies with it, though its PID namespace does not.
	leaver := b.run(sb, "sleep 4343 & sleep 4343 & exit 0")
	b.wait(leaver)
	if got := b.output(sb, "ps"); strings.Contains(got, "4343") {
		t.Errorf("left running:\n%s", got)
	}
	b.killShim()
	b.rt.client.dropIdle()
	if got := b.output(sb, "ps"); !strings.Contains(got, "sleep 4242") || !strings.Contains(got, "/pause pause") {
		t.Errorf("after the shim was killed:\n%s", got)
	}
}

func TestHostNamespaces(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox(func(s *runtime.Sandbox) { s.HostNetwork, s.HostPID, s.HostIPC = true, true, true })
	name, _ := os.Hostname()
	got := strings.Split(b.output(sb, "hostname; for i in net pid ipc; do busybox readlink /proc/self/ns/$i; done"), "\n")
	want := []string{name}
	for _, ns := range []string{"net", "pid", "ipc"} {
		l, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, l)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	leaver := b.run(sb, "sleep 4444 & exit 3")
	if st := b.wait(leaver); st.ExitCode != 3 {
		t.Errorf("%+v", st)
	}
}

func TestMounts(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("text\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := b.output(sb, "cat /data/sub/f; echo $?; touch /data/g; echo $?; touch /data/sub/h; echo $?; test -c /dev/mine; echo $?", func(c *runtime.Container) {
		c.Mounts = []runtime.Mount{ // the inner one first: order is by depth
			{Host: dir, Container: "/data/sub", ReadOnly: true, RecursiveReadOnly: true},
			{Host: t.TempDir(), Container: "/data"},
		}
		c.Devices = []runtime.Device{{Host: "/dev/null", Container: "/dev/mine", Permissions: "r"}}
	})
	if want := "text\n0\n0\n1\n0"; !strings.HasPrefix(got, "text") || strings.Join(slices.DeleteFunc(strings.Split(got, "\n"), func(l string) bool { return strings.Contains(l, "Read-only") }), "\n") != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestResources(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox(func(s *runtime.Sandbox) { s.Resources = runtime.Resources{CPUShares: 512, MemoryLimit: 256 << 20} })
	id := b.run(sb, "exec sleep 1000", func(c *runtime.Container) {
		c.Resources = runtime.Resources{CPUShares: 256, CPUQuota: 20000, CPUPeriod: 100000, MemoryLimit: 64 << 20, PidsLimit: 50, OOMScoreAdj: -997}
	})
	read := func(id, controller, v1, v2 string) string {
		t.Helper()
		rec, err := b.rt.record(t.Context(), id)
		path := rec.CgroupPath
		if err != nil {
			path = b.cgroup + "/pod" + id
		}
		file := filepath.Join(cgroupRoot, controller, path, v1)
		if b.rt.host.unified {
			file = filepath.Join(cgroupRoot, path, v2)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	check := func(id, controller, v1, v2, want string) {
		t.Helper()
		if got := read(id, controller, v1, v2); got != want {
			t.Errorf("%s %s: %s, want %s", controller, v1, got, want)
		}
	}
	check(id, "memory", "memory.limit_in_bytes", "memory.max", fmt.Sprint(64<<20))
	check(id, "pids", "pids.max", "pids.max", "50")
	check(sb, "memory", "memory.limit_in_bytes", "memory.max", fmt.Sprint(256<<20))
	if !b.rt.host.unified {
		check(id, "cpu", "cpu.shares", "", "256")
		check(id, "cpu", "cpu.cfs_quota_us", "", "20000")
		check(sb, "cpu", "cpu.shares", "", "512")
	}
	if err := b.rt.UpdateResources(t.Context(), id, runtime.Resources{CPUShares: 128, MemoryLimit: 96 << 20}); err != nil {
		t.Fatal(err)
	}
	check(id, "memory", "memory.limit_in_bytes", "memory.max", fmt.Sprint(96<<20))
	check(id, "pids", "pids.max", "pids.max", "50")
	if err := b.rt.UpdateResources(t.Context(), sb, runtime.Resources{CPUShares: 1024, MemoryLimit: 512 << 20}); err != nil {
		t.Fatal(err)
	}
	check(sb, "memory", "memory.limit_in_bytes", "memory.max", fmt.Sprint(512<<20))

	busy := b.run(sb, "while :; do :; done")
	time.Sleep(200 * time.Millisecond) // for it to use CPU
	stats, err := b.rt.Stats(t.Context(), id, busy)
	if err != nil {
		t.Fatal(err)
	}
	if s := stats[1]; s.CPUUsage < 20*time.Millisecond || s.MemoryUsage == 0 || s.MemoryWorkingSet == 0 || s.Pids != 1 {
		t.Errorf("%+v", s)
	}
	pod, err := b.rt.SandboxStats(t.Context(), sb)
	if err != nil || pod.CPUUsage < stats[1].CPUUsage || pod.Pids != 2 {
		t.Errorf("%+v %v", pod, err)
	}
}

func TestTerminal(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := b.run(sb, "stty -echo; echo ready; read x; echo got $x on $TERM; stty size; exit 6", func(c *runtime.Container) { c.TTY, c.Stdin = true, true })
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	sizes := make(chan runtime.Size, 1)
	var out bytes.Buffer
	done := make(chan error, 1)
	b.logLine(id, "stdout F ready\r")
	go func() {
		done <- b.rt.Attach(t.Context(), id, runtime.Exec{Stdin: in, Stdout: &out, TTY: true, Resize: sizes})
	}()
	sizes <- runtime.Size{Width: 100, Height: 50}
	sizes <- runtime.Size{Width: 101, Height: 51} // taken: the first has been applied
	sizes <- runtime.Size{Width: 101, Height: 51}
	if _, err := feed.WriteString("word\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	feed.Close()
	if want := "got word on xterm\r\n51 101\r\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	if st := b.wait(id); st.ExitCode != 6 {
		t.Errorf("%+v", st)
	}
}

// TestTerminalSurvives: containers on a terminal or with stdin outlive the shim, twice.
func TestTerminalSurvives(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	const script = "stty -echo; echo ready; while read x; do echo got $x; done; exit 6"
	piped := b.run(sb, "read x; echo got $x; read x; echo end", func(c *runtime.Container) { c.Stdin, c.StdinOnce = true, true })
	terminal := func(c *runtime.Container) { c.TTY, c.Stdin = true, true }
	first := b.run(sb, script, terminal)
	b.logLine(first, "stdout F ready\r")
	before := b.status(first)
	b.killShim()
	b.rt.client.dropIdle()
	b.say(first, "one\n")
	b.logLine(first, "stdout F got one\r")
	if st := b.status(first); st.Pid != before.Pid {
		t.Errorf("before %+v, after %+v", before, st)
	}
	b.say(piped, "word\n") // and, once, closes it
	b.logLine(piped, "stdout F end")
	second := b.run(sb, script, terminal)
	b.killShim()
	b.rt.client.dropIdle()
	b.say(first, "two\n")
	b.say(second, "three\n\x04")
	b.logLine(first, "stdout F got two\r")
	b.logLine(second, "stdout F got three\r")
	if st := b.wait(second); st.ExitCode != 6 && st.ExitCode != 137 {
		t.Errorf("%+v", st)
	}
	b.say(first, "\x04")
	if st := b.wait(first); st.ExitCode != 6 && st.ExitCode != 137 {
		t.Errorf("%+v", st)
	}
}

// say types text on the container's terminal.
func (b *bed) say(id, text string) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	in, feed := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- b.rt.Attach(ctx, id, runtime.Exec{Stdin: in, TTY: true}) }()
	_, err := feed.Write([]byte(text))
	_, _ = feed.Write(nil) // read once the text has been written
	cancel()
	feed.Close()
	<-done
	if err != nil {
		b.Fatal(err)
	}
}

func TestSlowAttach(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	id := b.run(sb, "read go; seq 1 30000; echo end", func(c *runtime.Container) { c.Stdin = true })
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer feed.Close()
	done := make(chan error, 1)
	go func() { done <- b.rt.Attach(t.Context(), id, runtime.Exec{Stdin: in, Stdout: write}); write.Close() }()
	if _, err := feed.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // nobody reads: the container has to wait, and must not lose anything
	var got bytes.Buffer
	if _, err := got.ReadFrom(read); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(got.String()), "\n")
	if len(lines) != 30001 || lines[29999] != "30000" || lines[30000] != "end" {
		t.Errorf("attached got %d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	b.wait(id)
	if log := b.log(id); len(log) != 30001 {
		t.Errorf("the log has %d lines", len(log))
	}
}

func TestRotation(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	const last = 1_200_000
	id := b.run(sb, fmt.Sprint("seq 1 ", last)) // 56 MB of log at 10 MiB a file: the first file must go
	b.wait(id)
	files, err := filepath.Glob(b.status(id).LogPath + "*")
	if err != nil || len(files) != 5 {
		t.Fatalf("%q %v", files, err)
	}
	seen := map[int]bool{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || len(data) > 10<<20 {
			t.Errorf("%s: %d bytes, %v", f, len(data), err)
		}
		for line := range strings.Lines(string(data)) {
			n := 0
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' '):], &n); err != nil || seen[n] {
				t.Fatalf("%q: %v", line, err)
			}
			seen[n] = true
		}
	}
	for n := last; n > last-len(seen); n-- {
		if !seen[n] {
			t.Fatalf("line %d is missing", n)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	b := newBed(t)
	const n = 20
	errs := make(chan error, n)
	began := time.Now()
	for i := range n {
		go func() {
			id := fmt.Sprintf("many%02d", i)
			errs <- func() error {
				s := runtime.Sandbox{ID: id, PodUID: id, Hostname: id, CgroupParent: b.cgroup + "/" + id}
				if err := b.rt.RunSandbox(t.Context(), s); err != nil {
					return err
				}
				c, err := b.rt.CreateContainer(t.Context(), runtime.Container{SandboxID: id, Name: "c", Image: "busybox", Command: []string{"sleep", "1000"}})
				if err != nil {
					return err
				}
				return b.rt.StartContainer(t.Context(), c)
			}()
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d pods in %v", n, time.Since(began))
	_, containers, err := b.rt.List(t.Context())
	if err != nil || len(containers) != n {
		t.Fatalf("%d containers, %v", len(containers), err)
	}
	for _, c := range containers {
		if c.State != runtime.Running {
			t.Errorf("%+v", c)
		}
	}
}
