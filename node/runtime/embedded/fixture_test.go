package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"clipper/image"
	"clipper/node/runtime"
	"clipper/node/runtime/embedded/crilog"
	"clipper/node/runtime/embedded/wire"
)

// busybox unpacks Debian's busybox-static once per machine, into the repository's cache folder.
var busybox = sync.OnceValues(func() (string, error) {
	cache, err := filepath.Abs("../../../.cache/busybox")
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "busybox")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	tmp, err := os.MkdirTemp("", "busybox")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	_ = os.Chmod(tmp, 0o777) // apt downloads as another user
	script := "apt-get download -q busybox-static && dpkg-deb -x busybox-static*.deb x"
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	for _, at := range []string{"x/bin/busybox", "x/usr/bin/busybox"} {
		data, err := os.ReadFile(filepath.Join(tmp, at))
		if err != nil {
			continue
		}
		if err := os.MkdirAll(cache, 0o755); err != nil {
			return "", err
		}
		return path, os.WriteFile(path, data, 0o755)
	}
	return "", errors.New("no busybox in the package")
})

// testShim builds the shim once.
var testShim = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs("../../../.cache/test-shim")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-tags", "seccomp netgo osusergo runc_nocriu",
		"-ldflags", "-linkmode external -extldflags -static", "-o", path, "clipper/cmd/clipper-shim")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the shim: %w\n%s", err, out)
	}
	return path, nil
})

// dirSnapshots are overlays on a directory with busybox in it, as the image store's are on layers.
type dirSnapshots struct {
	dir    string
	config v1.Config
}

// template is the layer below, made once per test binary.
var template = sync.OnceValues(func() (string, error) {
	box, err := busybox()
	if err != nil {
		return "", err
	}
	root := filepath.Join(filepath.Dir(box), "rootfs")
	if err := os.RemoveAll(root); err != nil {
		return "", err
	}
	for _, dir := range []string{"bin", "etc", "tmp", "root"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", err
		}
	}
	err = errors.Join(
		os.Link(box, filepath.Join(root, "bin/busybox")),
		os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:web:/home/web:/bin/sh\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc/group"), []byte("root:x:0:\nweb:x:1001:\nextra:x:2000:web\n"), 0o644),
	)
	for _, applet := range strings.Fields("sh sleep cat echo ls id kill head yes dd true false stty seq mount ps hostname tail wc od test unshare tr touch") {
		err = errors.Join(err, os.Symlink("busybox", filepath.Join(root, "bin", applet)))
	}
	return root, err
})

// file is where a file of the container is on the host.
func (d *dirSnapshots) file(id, name string) string { return filepath.Join(d.dir, id, "rootfs", name) }

func (d *dirSnapshots) Prepare(_ context.Context, id, ref string) (image.Snapshot, *v1.ConfigFile, error) {
	lower, err := template()
	if err != nil {
		return image.Snapshot{}, nil, err
	}
	sn := image.Snapshot{ID: id, Image: ref, ImageID: "sha256:test", Rootfs: d.file(id, "")}
	for _, dir := range []string{"upper", "work", "rootfs"} {
		if err := os.MkdirAll(filepath.Join(d.dir, id, dir), 0o755); err != nil {
			return sn, nil, err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, filepath.Join(d.dir, id), filepath.Join(d.dir, id))
	err = unix.Mount("overlay", sn.Rootfs, "overlay", 0, options)
	return sn, &v1.ConfigFile{Config: d.config}, err
}

func (d *dirSnapshots) PrepareMapped(context.Context, string, string, image.Owners) (image.Snapshot, *v1.ConfigFile, error) {
	return image.Snapshot{}, nil, errors.ErrUnsupported
}

func (d *dirSnapshots) RemoveSnapshot(_ context.Context, id string) error {
	if err := unix.Unmount(d.file(id, ""), 0); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return os.RemoveAll(filepath.Join(d.dir, id))
}

func (d *dirSnapshots) RetainSnapshots(ctx context.Context, keep func(string) bool) error {
	entries, err := os.ReadDir(d.dir)
	for _, e := range entries {
		if !keep(e.Name()) {
			err = errors.Join(err, d.RemoveSnapshot(ctx, e.Name()))
		}
	}
	return err
}

func (d *dirSnapshots) SnapshotUsage(context.Context, string) (image.Usage, error) {
	return image.Usage{}, nil
}

func (d *dirSnapshots) ImageStatus(context.Context, string) (runtime.Image, error) {
	return runtime.Image{Digests: []string{"docker.io/library/alpine@sha256:1", "docker.io/library/busybox@sha256:1"}}, nil
}

// A bed is a node to test on: a data directory and the cgroups of its own, all gone at the end of the test.
type bed struct {
	testing.TB
	dir       string
	cgroup    string
	snapshots *dirSnapshots
	opts      Options
	rt        *Runtime
	stopRun   func()
}

// newBed starts a runtime, or skips the test where containers cannot run.
func newBed(t testing.TB) *bed {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("running containers takes root")
	}
	box, err := busybox()
	if err != nil {
		t.Skipf("no busybox to run: %v (%s)", err, box)
	}
	shim, err := testShim()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: the path must be on the disk that .cache is on, for hard links.
	dir, err := os.MkdirTemp(filepath.Dir(shim), "runtime-test-")
	if err != nil {
		t.Fatal(err)
	}
	// In a folder of its own, as when it is unpacked: overlayfs, which seals it, refuses overlapping folders.
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	linked := filepath.Join(dir, "bin", shimName)
	if err := os.Link(shim, linked); err != nil {
		t.Fatal(err)
	}
	shim = linked
	b := &bed{TB: t, dir: dir, cgroup: "/clipper-test/" + filepath.Base(dir)}
	b.snapshots = &dirSnapshots{dir: filepath.Join(dir, "snapshots")}
	b.opts = Options{DataDir: dir, Snapshots: b.snapshots, ShimPath: shim, LogLimits: crilog.Limits{Size: 10 << 20, Files: 5}}
	if err := os.MkdirAll(b.snapshots.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.tearDown)
	b.open()
	return b
}

// open connects a new agent.
func (b *bed) open() {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	rt, err := Open(ctx, b.opts)
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := rt.Run(ctx); err != nil {
			b.Errorf("Run: %v", err)
		}
	}()
	b.rt = rt
	b.stopRun = func() { cancel(); <-done; rt.Close() }
}

// reopen is what a new agent does after the old one was killed: nothing of the old one is told to the shim.
func (b *bed) reopen() {
	b.Helper()
	b.stopRun()
	b.open()
}

func (b *bed) shimPid() int {
	b.Helper()
	resp, err := b.rt.client.call(context.Background(), &wire.Request{Op: wire.OpHello})
	if err != nil {
		b.Fatal(err)
	}
	return resp.Hello.Pid
}

func (b *bed) killShim() {
	b.Helper()
	pid := b.shimPid()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		b.Fatal(err)
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bed) tearDown() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	sandboxes, _, err := b.rt.List(ctx)
	if err != nil {
		b.Error(err)
	}
	for _, s := range sandboxes {
		if err := b.rt.RemoveSandbox(ctx, s.ID); err != nil {
			b.Error(err)
		}
	}
	b.checkLeaks()
	pid := b.shimPid()
	b.stopRun()
	conn, err := wire.Dial(b.rt.client.stateDir)
	if err != nil {
		b.Error(err)
	} else {
		_ = conn.Send(&wire.Request{Op: wire.OpShutdown})
		fd, err := unix.PidfdOpen(pid, 0)
		if err == nil {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
			unix.Close(fd)
		}
		conn.Close()
	}
	if syscall.Kill(pid, 0) == nil && !zombie(pid) {
		b.Errorf("shim %d is still there", pid)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	b.checkKeeper()
	log, _ := os.ReadFile(filepath.Join(b.dir, "runtime/shim.log"))
	if bytes.Contains(log, []byte("DATA RACE")) || bytes.Contains(log, []byte("goroutine ")) {
		b.Error("the shim has raced or crashed")
	}
	if b.Failed() {
		b.Logf("shim.log:\n%s", log)
	}
	b.removeCgroups()
	if err := os.RemoveAll(b.dir); err != nil {
		b.Error(err)
	}
}

// checkKeeper looks for the process that keeps descriptors: it ends after the last of them.
func (b *bed) checkKeeper() {
	d, err := os.Open(filepath.Join(b.dir, "runtime"))
	if err != nil {
		b.Error(err)
		return
	}
	defer d.Close()
	conn, err := net.Dial("unixpacket", fmt.Sprintf("/proc/self/fd/%d/keeper.sock", d.Fd()))
	if err == nil {
		conn.Close()
		b.Error("somebody keeps descriptors still")
	}
}

func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// checkLeaks looks for what RemoveSandbox should have removed.
func (b *bed) checkLeaks() {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		b.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, b.dir) {
			b.Errorf("mount left: %s", strings.TrimSpace(line))
		}
	}
	for _, dir := range []string{"runtime/containers", "runtime/sandboxes", "runtime/libcontainer", "snapshots"} {
		entries, err := os.ReadDir(filepath.Join(b.dir, dir))
		if err != nil {
			b.Error(err)
		}
		for _, e := range entries {
			b.Errorf("directory left: %s/%s", dir, e.Name())
		}
	}
	for _, dir := range b.cgroupDirs() {
		if path.Base(dir) != path.Base(b.cgroup) { // the parent is the agent's
			b.Errorf("cgroup left: %s", dir)
		}
	}
}

// cgroupDirs lists this bed's cgroups in all hierarchies, the deepest first.
func (b *bed) cgroupDirs() []string {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + b.cgroup)
	if _, err := os.Stat("/sys/fs/cgroup" + b.cgroup); err == nil {
		roots = append(roots, "/sys/fs/cgroup"+b.cgroup)
	}
	var dirs []string
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
	}
	slices.Reverse(dirs)
	return dirs
}

func (b *bed) removeCgroups() {
	for _, dir := range b.cgroupDirs() {
		if err := os.Remove(dir); err != nil {
			b.Error(err)
		}
		_ = os.Remove(filepath.Dir(dir)) // "/clipper-test", once it is empty
	}
}

// sandbox runs a sandbox without a network of its own.
func (b *bed) sandbox(change ...func(*runtime.Sandbox)) string {
	b.Helper()
	id := newID()[:12]
	logs := filepath.Join(b.dir, "logs", id)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		b.Fatal(err)
	}
	s := runtime.Sandbox{
		ID: id, PodUID: "uid-" + id, Namespace: "default", Pod: "pod-" + id, Hostname: "pod-" + id,
		CgroupParent: b.cgroup + "/pod" + id, LogDir: logs,
	}
	for _, c := range change {
		c(&s)
	}
	if err := b.rt.RunSandbox(b.Context(), s); err != nil {
		b.Fatal(err)
	}
	return id
}

// create makes a container that runs a shell script.
func (b *bed) create(sandbox, script string, change ...func(*runtime.Container)) string {
	b.Helper()
	c := runtime.Container{
		SandboxID: sandbox, Name: "main", Image: "busybox", Command: []string{"/bin/sh", "-c", script},
		LogPath: filepath.Join(b.dir, "logs", sandbox, newID()[:8]+".log"),
	}
	for _, f := range change {
		f(&c)
	}
	id, err := b.rt.CreateContainer(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	return id
}

func (b *bed) start(id string) {
	b.Helper()
	if err := b.rt.StartContainer(b.Context(), id); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) run(sandbox, script string, change ...func(*runtime.Container)) string {
	b.Helper()
	id := b.create(sandbox, script, change...)
	b.start(id)
	return id
}

// wait returns the container's status once it has ended.
func (b *bed) wait(id string) runtime.ContainerStatus {
	b.Helper()
	if ended, err := b.rt.waitFor(b.Context(), id, 20*time.Second); err != nil || !ended {
		b.Fatalf("container %s has not ended: %v", id, err)
	}
	return b.status(id)
}

func (b *bed) status(id string) runtime.ContainerStatus {
	b.Helper()
	st, err := b.rt.Status(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return st
}

// log returns the container's log without time stamps.
func (b *bed) log(id string) []string {
	b.Helper()
	data, err := os.ReadFile(b.status(id).LogPath)
	if err != nil {
		b.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		stamp, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
			b.Errorf("log line %q: %v", line, err)
		}
		out = append(out, rest)
	}
	return out
}

// logLine waits until the container has logged a line.
func (b *bed) logLine(id, want string) {
	b.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if slices.Contains(b.log(id), want) {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("container %s never logged %q; log: %q", id, want, b.log(id))
		}
		time.Sleep(5 * time.Millisecond)
	}
}
