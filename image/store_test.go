package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"clipper/image/archive"
	"clipper/image/build"
	"clipper/image/reference"
	"clipper/mountpoint"
	"clipper/node/runtime"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the image store needs root")
	}
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	needRoot(t)
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testLayer packs files, given as "path=content" or "path" for an empty directory.
func testLayer(t testing.TB, files ...string) v1.Layer {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, content, isFile := strings.Cut(f, "=")
		path := filepath.Join(dir, name)
		if !isFile {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := build.Layer(dir, filepath.Join(t.TempDir(), "layer"), build.RootOwned)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func testImage(t testing.TB, spec build.Spec, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := build.Image(nil, spec, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSnapshotLife(t *testing.T) {
	s := open(t, t.TempDir())
	shared := testLayer(t, "etc/motd=hello", "etc/gone=old", "usr/a=1", "usr/b=2")
	img := testImage(t, build.Spec{Cmd: []string{"run"}, User: "7"}, shared,
		testLayer(t, "etc/.wh.gone=", "usr/.wh..wh..opq=", "usr/c=3"), shared, testLayer(t, "etc/.wh.gone="))
	if _, err := s.Add(t.Context(), img, "app"); err != nil {
		t.Fatal(err)
	}
	sn, config, err := s.Prepare(t.Context(), "c1", "app")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mountpoint.Unmount(sn.Rootfs) })
	if config.Config.Cmd[0] != "run" || config.Config.User != "7" {
		t.Errorf("configuration %+v", config.Config)
	}
	if got := read(t, filepath.Join(sn.Rootfs, "etc/motd")); got != "hello" {
		t.Errorf("motd is %q", got)
	}
	for name, want := range map[string]bool{"etc/gone": false, "usr/a": true, "usr/b": true, "usr/c": true} {
		if exists(filepath.Join(sn.Rootfs, name)) != want {
			t.Errorf("%s present: %v, want %v", name, !want, want)
		}
	}
	if err := os.WriteFile(filepath.Join(sn.Rootfs, "written"), bytes.Repeat([]byte("x"), 10_000), 0o644); err != nil {
		t.Fatal(err)
	}
	if u, err := s.SnapshotUsage(context.Background(), "c1"); err != nil || u.Bytes < 10_000 || u.Inodes < 2 {
		t.Errorf("usage %+v, %v", u, err)
	}
	// The image may go; the container keeps its files.
	if err := s.RemoveImage(t.Context(), "app"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(sn.Rootfs, "etc/motd")); got != "hello" {
		t.Errorf("after removal of the image motd is %q", got)
	}
	// As after a restart of the machine: the mount is gone, the agent is new.
	if err := mountpoint.Unmount(sn.Rootfs); err != nil {
		t.Fatal(err)
	}
	s = open(t, s.dir)
	if list, err := s.ListSnapshots(); err != nil || len(list) != 1 || list[0].ID != "c1" || list[0].ImageID == "" {
		t.Errorf("snapshots %+v, %v", list, err)
	}
	if err := s.RetainSnapshots(t.Context(), func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Dir(sn.Rootfs)) {
		t.Error("snapshot still there")
	}
	if err := s.CollectGarbage(); err != nil {
		t.Fatal(err)
	}
	checkEmpty(t, s)
}

// checkEmpty: neither layer nor blob nor remainder is left.
func checkEmpty(t testing.TB, s *Store) {
	t.Helper()
	for _, d := range []string{"layers", "blobs/sha256", "tmp", "snapshots/node"} {
		entries, err := os.ReadDir(s.path(d))
		if err != nil || len(entries) > 0 {
			t.Errorf("%s holds %v (%v)", d, entries, err)
		}
	}
}

func TestPrepareIsIdempotentAndMountsAgain(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.Add(t.Context(), testImage(t, build.Spec{}, testLayer(t, "a=1")), "app"); err != nil {
		t.Fatal(err)
	}
	var sn Snapshot
	for i := range 3 {
		var err error
		if sn, _, err = s.Prepare(t.Context(), "c", "app"); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := os.WriteFile(filepath.Join(sn.Rootfs, "b"), []byte("2"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, filepath.Join(sn.Rootfs, "b")); got != "2" {
			t.Errorf("round %d: b is %q", i, got)
		}
		if i == 1 {
			if err := mountpoint.Unmount(sn.Rootfs); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.RemoveSnapshot(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveSnapshot(t.Context(), "c"); err != nil {
		t.Fatal("second removal:", err)
	}
	if mounts := read(t, "/proc/self/mountinfo"); strings.Contains(mounts, s.dir) {
		t.Error("a mount is left:", mounts)
	}
}

func TestManyLayersAndLongPaths(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), strings.Repeat("long-", 30), strings.Repeat("path-", 30)))
	var layers []v1.Layer
	for i := range 130 {
		layers = append(layers, testLayer(t, fmt.Sprintf("f%d=%d", i, i), fmt.Sprintf("top=%d", i)))
	}
	if _, err := s.Add(t.Context(), testImage(t, build.Spec{}, layers...), "deep"); err != nil {
		t.Fatal(err)
	}
	sn, _, err := s.Prepare(t.Context(), "c", "deep")
	if err != nil {
		t.Fatal(err)
	}
	defer s.RemoveSnapshot(t.Context(), "c")
	if got := read(t, filepath.Join(sn.Rootfs, "top")) + read(t, filepath.Join(sn.Rootfs, "f0")); got != "1290" {
		t.Errorf("top and f0 read %q", got)
	}
}

func TestMountByOptions(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.Add(t.Context(), testImage(t, build.Spec{}, testLayer(t, "a=1"), testLayer(t, "b=2")), "app"); err != nil {
		t.Fatal(err)
	}
	sn, _, err := s.Prepare(t.Context(), "c", "app")
	if err != nil {
		t.Fatal(err)
	}
	defer s.RemoveSnapshot(t.Context(), "c")
	if err := mountpoint.Unmount(sn.Rootfs); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.snapshotPath("c", "work", "work", "incompat")); err != nil {
		t.Fatal(err)
	}
	if err := s.mountByOptions(s.lowerDirs(sn), sn.Upper, s.snapshotPath("c", "work"), sn.Rootfs); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(sn.Rootfs, "a")) + read(t, filepath.Join(sn.Rootfs, "b")); got != "12" {
		t.Errorf("a and b read %q", got)
	}
}

func TestScratchImage(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.Add(t.Context(), testImage(t, build.Spec{}), "nothing"); err != nil {
		t.Fatal(err)
	}
	sn, _, err := s.Prepare(t.Context(), "c", "nothing")
	if err != nil {
		t.Fatal(err)
	}
	defer s.RemoveSnapshot(t.Context(), "c")
	if err := os.WriteFile(filepath.Join(sn.Rootfs, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLookup(t *testing.T) {
	s := open(t, t.TempDir())
	a, err := s.Add(t.Context(), testImage(t, build.Spec{User: "a"}, testLayer(t, "a=1")), "nginx", "k8s.gcr.io/busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Add(t.Context(), testImage(t, build.Spec{User: "b"}, testLayer(t, "b=1")), "registry.k8s.io/pause:3", "quay.io/x/y:1")
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"nginx": a.ID, "nginx:latest": a.ID, "docker.io/nginx": a.ID, "docker.io/library/nginx:latest": a.ID,
		"index.docker.io/library/nginx": a.ID, a.ID: a.ID, strings.TrimPrefix(a.ID, "sha256:"): a.ID, a.ID[:20]: a.ID, a.ID[7:15]: a.ID,
		"k8s.gcr.io/busybox:1": a.ID, "k8s.gcr.io/pause:3": b.ID, "registry.k8s.io/pause:3": b.ID,
		a.Digests[0]: a.ID, "nginx:1": "", "y:1": "", "registry.k8s.io/pause": "", "x": "", "sha256:" + strings.Repeat("0", 64): "",
	} {
		got, err := s.ImageStatus(t.Context(), ref)
		if want == "" {
			if !errors.Is(err, runtime.ErrNotFound) {
				t.Errorf("%s: %v, %v, want ErrNotFound", ref, got, err)
			}
			continue
		}
		if err != nil || got.ID != want {
			t.Errorf("%s: %s, %v, want %s", ref, got.ID, err, want)
		}
	}
	// A tag moves to the newer image; the older one stays, reachable by its ID.
	if _, err := s.Add(t.Context(), testImage(t, build.Spec{User: "c"}, testLayer(t, "c=1")), "nginx"); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.ImageStatus(t.Context(), "nginx"); got.User != "c" {
		t.Errorf("nginx is still the image of user %q", got.User)
	}
	if got, err := s.ImageStatus(t.Context(), a.ID); err != nil || len(got.Tags) != 1 {
		t.Errorf("older image: %+v, %v", got, err)
	}
	// One name goes, the image stays for the other.
	if err := s.RemoveImage(t.Context(), "quay.io/x/y:1"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ImageStatus(t.Context(), "registry.k8s.io/pause:3"); err != nil || len(got.Tags) != 1 || len(got.Digests) != 1 {
		t.Errorf("pause: %+v, %v", got, err)
	}
	for _, ref := range []string{a.ID, b.ID, "nginx", "never-there"} {
		if err := s.RemoveImage(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	checkEmpty(t, s)
}

func TestArchives(t *testing.T) {
	layerA, layerB := testLayer(t, "a=1"), testLayer(t, "b=1")
	one := testImage(t, build.Spec{Cmd: []string{"one"}}, layerA, layerB)
	two := testImage(t, build.Spec{Cmd: []string{"two"}}, layerA)
	both := filepath.Join(t.TempDir(), "both.tar")
	if err := archive.WriteFile(both, []archive.Entry{
		{Names: []string{"docker.io/library/one:1", "quay.io/o/one:2"}, Image: one}, {Names: []string{"docker.io/library/two:latest"}, Image: two},
	}); err != nil {
		t.Fatal(err)
	}
	zipped := filepath.Join(t.TempDir(), "both.tar.gz")
	gzipFile(t, both, zipped)
	docker := filepath.Join(t.TempDir(), "docker.tar")
	if err := tarball.MultiRefWriteToFile(docker, refs(t, map[string]v1.Image{"one:1": one, "quay.io/o/one:2": one, "two:latest": two})); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{both, zipped, docker} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s := open(t, t.TempDir())
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := s.Import(t.Context(), f, "", nil)
			if err != nil || len(got) != 2 {
				t.Fatalf("imported %+v, %v", got, err)
			}
			for ref, want := range map[string]v1.Image{"one:1": one, "quay.io/o/one:2": one, "two": two} {
				id, _ := want.ConfigName()
				if st, err := s.ImageStatus(t.Context(), ref); err != nil || st.ID != id.String() {
					t.Errorf("%s: %+v, %v", ref, st, err)
				}
			}
			// What is exported comes back the same, digests included.
			out := filepath.Join(t.TempDir(), "out.tar")
			w, err := os.Create(out)
			if err != nil {
				t.Fatal(err)
			}
			before, _ := s.ImageStatus(t.Context(), "one:1")
			if err := errors.Join(s.Export(t.Context(), w, "one:1", "two"), w.Close()); err != nil {
				t.Fatal(err)
			}
			again := open(t, t.TempDir())
			if f, err = os.Open(out); err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := again.Import(t.Context(), f, "", nil); err != nil {
				t.Fatal(err)
			}
			after, err := again.ImageStatus(t.Context(), before.Digests[0])
			if err != nil || after.ID != before.ID || len(after.Tags) != 1 {
				t.Errorf("after export and import: %+v, %v", after, err)
			}
		})
	}
}

func TestBrokenArchives(t *testing.T) {
	s := open(t, t.TempDir())
	good := filepath.Join(t.TempDir(), "good.tar")
	if err := archive.WriteFile(good, []archive.Entry{{Names: []string{"docker.io/library/x:1"}, Image: testImage(t, build.Spec{}, testLayer(t, "a=1"))}}); err != nil {
		t.Fatal(err)
	}
	b := []byte(read(t, good))
	flipped := bytes.Clone(b)
	flipped[600] ^= 0xff // in the first blob, the layer
	for name, tc := range map[string]struct {
		content []byte
		want    string
	}{
		"empty": {nil, "unexpected EOF"}, "text": {[]byte(strings.Repeat("no archive ", 200)), "is it an image archive"},
		"cut": {b[:len(b)/2], "archive"}, "flipped": {flipped, "layer 1 of 1"},
		"gzip of nothing": {gzipped(t, nil), "neither index.json"},
	} {
		path := filepath.Join(t.TempDir(), "broken")
		if err := os.WriteFile(path, tc.content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Import(t.Context(), f, "", nil); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
		f.Close()
	}
	checkEmpty(t, s)
}

func TestBuildFromDir(t *testing.T) {
	s := open(t, t.TempDir())
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte("1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "x"), filepath.Join(dir, "y")); err != nil {
		t.Fatal(err)
	}
	base, err := s.Build(t.Context(), dir, "", "base", build.RootOwned, build.Spec{Entrypoint: []string{"/x"}, Cmd: []string{"a"}, Env: []string{"A=1", "B=2"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Build(t.Context(), dir, "base", "derived", build.RootOwned, build.Spec{Entrypoint: []string{"/y"}, Env: []string{"B=3"}, Expose: []string{"80", "53/udp"}, User: "9", WorkDir: "/w"}); err != nil {
		t.Fatal(err)
	}
	c, err := s.Config("derived")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%v %v %v %s %s %d %d", c.Config.Entrypoint, c.Config.Cmd, c.Config.Env[1:], c.Config.User, c.Config.WorkingDir, len(c.Config.ExposedPorts), len(c.RootFS.DiffIDs))
	if want := "[/y] [] [A=1 B=3] 9 /w 2 2"; got != want {
		t.Errorf("configuration %s, want %s", got, want)
	}
	if again, err := s.Build(t.Context(), dir, "", "base", build.RootOwned, build.Spec{Entrypoint: []string{"/x"}, Cmd: []string{"a"}, Env: []string{"A=1", "B=2"}}); err != nil || again.ID != base.ID {
		t.Errorf("the same directory gave %s and %s (%v)", base.ID, again.ID, err)
	}
}

// Several stores on one folder stand for several processes: locks are per open file.
func TestConcurrentStores(t *testing.T) {
	dir := t.TempDir()
	shared := testLayer(t, "a=1", "b=2")
	const each = 8
	var wg sync.WaitGroup
	for w := range 4 {
		s := open(t, dir)
		wg.Go(func() {
			for i := range each {
				img := testImage(t, build.Spec{User: fmt.Sprint(w, "-", i)}, shared)
				name := fmt.Sprintf("img-%d-%d", w, i)
				if _, err := s.Add(context.Background(), img, name); err != nil {
					t.Error(err)
				}
				if i%2 == 1 {
					if err := s.RemoveImage(context.Background(), name); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	s := open(t, dir)
	list, err := s.ListImages(t.Context())
	if err != nil || len(list) != 4*each/2 {
		t.Fatalf("%d images, %v", len(list), err)
	}
	for _, i := range list {
		sn, _, err := s.Prepare(t.Context(), i.ID[7:], i.Tags[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, filepath.Join(sn.Rootfs, "b")); got != "2" {
			t.Errorf("b is %q", got)
		}
		if err := s.RemoveSnapshot(t.Context(), sn.ID); err != nil {
			t.Fatal(err)
		}
	}
}

const killedEnv = "CLIPPER_TEST_IMPORT" // "archive dir": this process is the one to be killed

func TestMain(m *testing.M) {
	if v := os.Getenv(killedEnv); v != "" {
		file, dir, _ := strings.Cut(v, " ")
		s, err := Open(Options{Dir: dir})
		if err == nil {
			var f *os.File
			if f, err = os.Open(file); err == nil {
				fmt.Println("importing")
				_, err = s.Import(context.Background(), f, "", nil)
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("done")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A kill at any instant of an import leaves whole images only, and nothing else after the next start.
func TestKillDuringImport(t *testing.T) {
	needRoot(t)
	file := filepath.Join(t.TempDir(), "images.tar")
	var entries []archive.Entry
	for i := range 6 {
		var files []string
		for j := range 60 {
			files = append(files, fmt.Sprintf("d%d/f%d=%s", j%7, j, strings.Repeat(fmt.Sprint(i, j), 500)))
		}
		entries = append(entries, archive.Entry{
			Names: []string{fmt.Sprintf("docker.io/library/img%d:latest", i)},
			Image: testImage(t, build.Spec{User: fmt.Sprint(i)}, testLayer(t, files...), testLayer(t, fmt.Sprint("last=", i))),
		})
	}
	if err := archive.WriteFile(file, entries); err != nil {
		t.Fatal(err)
	}
	partial := 0
	for round := range 25 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killedEnv+"="+file+" "+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, len("importing\n"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(round*round) * 200 * time.Microsecond) // the instant to kill at, not a wait for something
		if err := cmd.Process.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		cmd.Wait()
		s := open(t, dir)
		list, err := s.ListImages(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 && len(list) < len(entries) {
			partial++
		}
		for _, img := range list {
			sn, _, err := s.Prepare(t.Context(), "c", img.Tags[0])
			if err != nil {
				t.Fatalf("round %d: %s: %v", round, img.Tags, err)
			}
			if got := read(t, filepath.Join(sn.Rootfs, "last")); got != img.User {
				t.Errorf("round %d: last is %q in image %s", round, got, img.User)
			}
			if files, _ := filepath.Glob(filepath.Join(sn.Rootfs, "d*", "f*")); len(files) != 60 {
				t.Errorf("round %d: image %s has %d of 60 files", round, img.User, len(files))
			}
			if err := s.RemoveSnapshot(t.Context(), "c"); err != nil {
				t.Fatal(err)
			}
			if err := s.RemoveImage(t.Context(), img.ID); err != nil {
				t.Fatal(err)
			}
		}
		checkEmpty(t, s)
	}
	t.Logf("%d of 25 kills hit between two images", partial)
}

func refs(t *testing.T, in map[string]v1.Image) map[name.Reference]v1.Image {
	t.Helper()
	out := map[name.Reference]v1.Image{}
	for n, img := range in {
		ref, err := reference.Parse(n)
		if err != nil {
			t.Fatal(err)
		}
		full, err := name.ParseReference(ref.String())
		if err != nil {
			t.Fatal(err)
		}
		out[full] = img
	}
	return out
}

func gzipFile(t *testing.T, from, to string) {
	t.Helper()
	if err := os.WriteFile(to, gzipped(t, []byte(read(t, from))), 0o600); err != nil {
		t.Fatal(err)
	}
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if _, err := zw.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
