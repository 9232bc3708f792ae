package client

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"clipper/node/runtime"
	"clipper/node/runtime/contract"
)

const busyboxImage = "docker.io/library/busybox:contract"

// TestContainerd holds Debian's containerd, as our client drives it, to the contract of runtimes.
func TestContainerd(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("running containers takes root")
	}
	tools, err := debian("containerd", "runc", "busybox-static")
	if err != nil {
		t.Skipf("no containerd to test with: %v", err)
	}
	socket := startContainerd(t, tools)
	t.Run("sandbox image", func(t *testing.T) { checkPinned(t, socket) })
	cgroup := fmt.Sprintf("/clipper-containerd-%d", os.Getpid())
	t.Cleanup(func() {
		if err := removeCgroup(cgroup); err != nil {
			t.Error(err)
		}
	})
	contract.Test(t, func(t *testing.T) *contract.Subject {
		s := &contract.Subject{TB: t, Dir: t.TempDir(), Cgroup: cgroup, Image: busyboxImage}
		var stop func()
		open := func() runtime.Runtime {
			ctx, cancel := context.WithCancel(context.Background())
			rt, err := Open(ctx, socket, "")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- rt.Run(ctx) }()
			stop = func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				rt.Close()
			}
			return rt
		}
		s.Runtime = open()
		s.Reopen = func() runtime.Runtime { stop(); return open() }
		t.Cleanup(func() { stop() })
		return s
	})
}

// checkPinned: an image that every sandbox needs is not for the collector.
func checkPinned(t *testing.T, socket string) {
	rt, err := Open(t.Context(), socket, "")
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	if img, err := rt.Images().ImageStatus(t.Context(), busyboxImage); err != nil || !img.Pinned {
		t.Errorf("%+v, %v", img, err)
	}
}

// debian unpacks packages once per machine, into the repository's cache folder. Nothing is installed.
func debian(packages ...string) (dir string, err error) {
	if dir, err = filepath.Abs("../../../../.cache/containerd"); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return dir, nil
	}
	tmp, err := os.MkdirTemp("", "containerd")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o777); err != nil { // apt downloads as another user
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	script := "apt-get download -q " + strings.Join(packages, " ") + " && mkdir -p " + dir +
		" && for p in *.deb; do dpkg-deb -x $p " + dir + " || exit 1; done && touch " + dir + "/complete"
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	return dir, nil
}

// startContainerd runs a containerd of the test's own, with one image, and returns its socket.
func startContainerd(t *testing.T, tools string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "containerd-test-") // short: a socket's path may not be long
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "c.sock")
	config := fmt.Sprintf(`version = 2
root = "%[1]s/root"
state = "%[1]s/state"
[grpc]
  address = "%[1]s/c.sock"
[ttrpc]
  address = "%[1]s/c.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[3]s"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "%[2]s/usr/sbin/runc"
`, dir, tools, busyboxImage)
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(tools, "usr/bin")
	var log bytes.Buffer
	daemon := exec.Command(filepath.Join(bin, "containerd"), "-c", file)
	daemon.Env = []string{"PATH=" + bin + ":" + filepath.Join(tools, "usr/sbin") + ":" + os.Getenv("PATH")}
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
		if t.Failed() {
			t.Logf("containerd:\n%s", log.String())
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	archive := filepath.Join(dir, "busybox.tar")
	if err := writeBusybox(archive, filepath.Join(tools, "bin/busybox")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command(filepath.Join(bin, "ctr"), "-a", socket, "-n", "k8s.io", "images", "import", archive).CombinedOutput()
		if err == nil {
			return socket
		}
		if time.Now().After(deadline) {
			t.Fatalf("import the image: %v\n%s\n%s", err, out, log.String())
		}
	}
}

// writeBusybox makes an archive of an image with busybox in it, which sleeps if it is not told what to do.
func writeBusybox(archive, binary string) error {
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	headers := []*tar.Header{{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, {Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}}
	for _, applet := range strings.Fields("sh sleep echo wc stty ps tail") {
		headers = append(headers, &tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"})
	}
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if h.Size > 0 {
			if _, err := w.Write(content); err != nil {
				return err
			}
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: goruntime.GOARCH, RootFS: must(img.ConfigFile()).RootFS, Config: v1.Config{Cmd: []string{"/bin/sleep", "1000000"}},
	})
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(busyboxImage)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(archive, ref, img)
}

func must(c *v1.ConfigFile, err error) *v1.ConfigFile {
	if err != nil {
		panic(err)
	}
	return c
}
