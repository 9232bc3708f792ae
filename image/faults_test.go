package image

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"clipper/image/build"
	"clipper/image/registry"
	"clipper/image/unpack"
)

// big is content that does not compress to nothing.
func big(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d,", i*i)
	}
	return b.String()
}

func isBlob(r *http.Request) bool {
	return strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet
}

// TestPullThroughFaults: what a registry may say for a while.
func TestPullThroughFaults(t *testing.T) {
	srv := newServer(t, false)
	srv.push(t, "app:1", testImage(t, build.Spec{}, testLayer(t, "a=1")))
	for _, status := range []int{408, 429, 500, 502, 503, 504} {
		var faults atomic.Int64
		srv.tamper = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/" || faults.Add(1) > 2 {
				return false
			}
			w.WriteHeader(status)
			return true
		}
		if _, err := openWith(t, nil).PullImage(t.Context(), srv.host()+"/app:1", nil); err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// cutting lets each answer of a blob end early, after what it may carry, and counts what is asked.
type cutting struct {
	next  http.Handler
	after int
	left  atomic.Int64
	sent  atomic.Int64
}

func (c *cutting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isBlob(r) || c.left.Add(-1) < 0 {
		c.next.ServeHTTP(w, r)
		return
	}
	c.next.ServeHTTP(&cut{ResponseWriter: w, left: c.after}, r)
}

type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.ResponseWriter.Write(p[:n])
	if c.left -= n; c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func TestBrokenDownloadsAreTakenUp(t *testing.T) {
	srv := newServer(t, false)
	srv.push(t, "app:1", testImage(t, build.Spec{}, testLayer(t, "a="+big(4<<20))))
	c := &cutting{next: srv.Config.Handler, after: 100 << 10}
	c.left.Store(4)
	srv.Config.Handler = c
	before := srv.requests.Load()
	if _, err := openWith(t, nil).PullImage(t.Context(), srv.host()+"/app:1", nil); err != nil {
		t.Fatal(err)
	}
	if n := srv.requests.Load() - before; n < 7 {
		t.Errorf("only %d requests: was it broken at all?", n)
	}
}

// TestOneDownloadForManyPulls: simultaneous pulls of images that share a layer fetch it once.
func TestOneDownloadForManyPulls(t *testing.T) {
	srv := newServer(t, false)
	shared := testLayer(t, "shared="+big(1<<20))
	digest, err := shared.Digest()
	if err != nil {
		t.Fatal(err)
	}
	const n = 6
	for i := range n {
		srv.push(t, fmt.Sprintf("app:%d", i/2), testImage(t, build.Spec{}, shared, testLayer(t, fmt.Sprintf("own=%d", i/2))))
	}
	var fetched atomic.Int64
	srv.tamper = func(_ http.ResponseWriter, r *http.Request) bool {
		if isBlob(r) && strings.HasSuffix(r.URL.Path, digest.String()) {
			fetched.Add(1)
			time.Sleep(50 * time.Millisecond) // so that the others come meanwhile
		}
		return false
	}
	s := openWith(t, nil)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := s.PullImage(t.Context(), fmt.Sprintf("%s/app:%d", srv.host(), i/2), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := fetched.Load(); got != 1 {
		t.Errorf("the shared layer was fetched %d times", got)
	}
}

// TestLayersSurviveAFailedPull: the next attempt fetches only what is missing.
func TestLayersSurviveAFailedPull(t *testing.T) {
	srv := newServer(t, false)
	bad := testLayer(t, "bad=1")
	digest, err := bad.Digest()
	if err != nil {
		t.Fatal(err)
	}
	srv.push(t, "app:1", testImage(t, build.Spec{}, testLayer(t, "good="+big(1<<18)), bad))
	s := openWith(t, nil)
	s.atOnce = 1
	broken := true
	var blobs atomic.Int64
	srv.tamper = func(w http.ResponseWriter, r *http.Request) bool {
		if isBlob(r) {
			blobs.Add(1)
		}
		if broken && isBlob(r) && strings.HasSuffix(r.URL.Path, digest.String()) {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}
	if _, err := s.PullImage(t.Context(), srv.host()+"/app:1", nil); err == nil || !strings.Contains(err.Error(), "layer 2 of 2") {
		t.Fatalf("got error %v", err)
	}
	broken = false
	blobs.Store(0)
	if _, err := s.PullImage(t.Context(), srv.host()+"/app:1", nil); err != nil {
		t.Fatal(err)
	}
	if n := blobs.Load(); n != 2 { // configuration and the missing layer
		t.Errorf("the second attempt fetched %d blobs", n)
	}
}

// TestMirrorThatLacksALayer: the registry itself is asked for what a mirror cannot give.
func TestMirrorThatLacksALayer(t *testing.T) {
	mirror, origin := newServer(t, false), newServer(t, false)
	img := testImage(t, build.Spec{}, testLayer(t, "a=1"))
	mirror.push(t, "app:1", img)
	origin.push(t, "app:1", img)
	mirror.tamper = func(w http.ResponseWriter, r *http.Request) bool {
		if isBlob(r) {
			w.WriteHeader(http.StatusNotFound)
		}
		return isBlob(r)
	}
	dir := hosts(t, "registry.example.com", fmt.Sprintf("server = %q\n[host.%q]\n", origin.URL, mirror.URL))
	if _, err := openWith(t, &registry.Config{HostsDirs: []string{dir}}).PullImage(t.Context(), "registry.example.com/app:1", nil); err != nil {
		t.Error(err)
	}
	if mirror.requests.Load() == 0 {
		t.Error("the mirror was not asked")
	}
}

// TestHostsFile: what hosts.toml can say about a host.
func TestHostsFile(t *testing.T) {
	img := testImage(t, build.Spec{}, testLayer(t, "a=1"))
	resolver, puller := newServer(t, false), newServer(t, false)
	puller.push(t, "app:1", img)
	resolver.push(t, "app:1", img)
	under := func(srv *server, prefix string) {
		inner := srv.Config.Handler
		srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rest, ok := strings.CutPrefix(r.URL.Path, prefix)
			if !ok || r.Header.Get("X-Team") != "red" {
				http.Error(w, "nothing here: "+r.URL.Path, http.StatusNotFound)
				return
			}
			r.URL.Path = "/v2" + rest
			inner.ServeHTTP(w, r)
		})
	}
	prefixed, overridden := newServer(t, false), newServer(t, false)
	prefixed.push(t, "app:1", img)
	overridden.push(t, "app:1", img)
	under(prefixed, "/proxy/v2")
	under(overridden, "/api")
	for name, tc := range map[string]struct{ file, fails string }{
		"path":         {fmt.Sprintf("[host.%q]\n[host.%q.header]\nX-Team = \"red\"\n", prefixed.URL+"/proxy", prefixed.URL+"/proxy"), ""},
		"override":     {fmt.Sprintf("[host.%q]\noverride_path = true\n[host.%q.header]\nX-Team = [\"red\"]\n", overridden.URL+"/api", overridden.URL+"/api"), ""},
		"split":        {fmt.Sprintf("[host.%q]\ncapabilities = [\"pull\"]\n[host.%q]\ncapabilities = [\"resolve\"]\n", puller.URL, resolver.URL), ""},
		"push only":    {fmt.Sprintf("server = %q\ncapabilities = [\"push\"]\n", puller.URL), "no host may be asked"},
		"unknown":      {fmt.Sprintf("server = %q\ncapabilities = [\"fly\"]\n", puller.URL), "unknown capability fly"},
		"timeout":      {fmt.Sprintf("server = %q\ndial_timeout = \"soon\"\n", puller.URL), "dial_timeout"},
		"header":       {fmt.Sprintf("server = %q\n[header]\nX = 7\n", puller.URL), `header "X"`},
		"client":       {fmt.Sprintf("server = %q\nclient = [[\"a\", \"b\", \"c\"]]\n", puller.URL), "invalid pair"},
		"not a scheme": {"server = \"ftp://x\"\n", "want http://HOST"},
	} {
		dir := hosts(t, "registry.example.invalid_5000_", tc.file)
		_, err := openWith(t, &registry.Config{HostsDirs: []string{dir}}).PullImage(t.Context(), "registry.example.invalid:5000/app:1", nil)
		if tc.fails == "" && err != nil || tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)) {
			t.Errorf("%s: got error %v, want %q", name, err, tc.fails)
		}
	}
	secure := newServer(t, true)
	secure.push(t, "app:1", img)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, secure.host()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(secure.caFile(t), filepath.Join(dir, secure.host(), "ca.crt")); err != nil {
		t.Fatal(err)
	}
	if _, err := openWith(t, &registry.Config{HostsDirs: []string{dir}}).PullImage(t.Context(), secure.host()+"/app:1", nil); err != nil {
		t.Errorf("a folder of certificates: %v", err)
	}
}

// TestWhatIsNoImage: artifacts, lists for other machines, lies about digests and sizes.
func TestWhatIsNoImage(t *testing.T) {
	srv := newServer(t, false)
	layer := testLayer(t, "a=1")
	chart := mutate.ConfigMediaType(mutate.MediaType(testImage(t, build.Spec{}, layer), types.OCIManifestSchema1), "application/vnd.cncf.helm.config.v1+json")
	srv.push(t, "chart:1", chart)
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: empty.Index})
	srv.push(t, "nothing:1", nested)
	srv.push(t, "good:1", testImage(t, build.Spec{}, layer))
	for ref, want := range map[string]string{
		"/chart:1":   `is not a container image but an artifact of type "application/vnd.cncf.helm.config.v1+json"`,
		"/nothing:1": "no match for platform in manifest: not found",
		"/good@sha256:" + strings.Repeat("0", 64): "not found",
	} {
		s := openWith(t, nil)
		if _, err := s.PullImage(t.Context(), srv.host()+ref, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %q", ref, err, want)
		}
		checkEmpty(t, s)
	}
	for name, tc := range map[string]struct {
		content string
		want    string
	}{
		"other content": {"something else", "does not match expected size"},
		"more":          {string(must(t, layer)) + "more", "does not match expected size"},
		"changed":       {string(bytes.Replace(must(t, layer), []byte{0x1f, 0x8b}, []byte{0x1f, 0x8c}, 1)), "sha256"},
	} {
		srv.tamper = func(w http.ResponseWriter, r *http.Request) bool {
			digest, _ := layer.Digest()
			if !isBlob(r) || !strings.HasSuffix(r.URL.Path, digest.String()) {
				return false
			}
			fmt.Fprint(w, tc.content)
			return true
		}
		s := openWith(t, nil)
		_, err := s.PullImage(t.Context(), srv.host()+"/good:1", nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want %q", name, err, tc.want)
		}
		checkEmpty(t, s)
	}
}

func must(t *testing.T, l v1.Layer) []byte {
	t.Helper()
	r, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestZstdLayers(t *testing.T) {
	srv := newServer(t, false)
	plain := testLayer(t, "a=zstd")
	r, err := plain.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	img, err := mutate.Append(mutate.MediaType(testImage(t, build.Spec{}), types.OCIManifestSchema1),
		mutate.Addendum{Layer: zstdLayer{static.NewLayer(packed.Bytes(), types.OCILayerZStd), plain}, MediaType: types.OCILayerZStd})
	if err != nil {
		t.Fatal(err)
	}
	srv.push(t, "app:1", img)
	s := openWith(t, nil)
	if _, err := s.PullImage(t.Context(), srv.host()+"/app:1", nil); err != nil {
		t.Fatal(err)
	}
	sn, _, err := s.Prepare(t.Context(), "c", srv.host()+"/app:1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.RemoveSnapshot(t.Context(), "c")
	if got := read(t, filepath.Join(sn.Rootfs, "a")); got != "zstd" {
		t.Errorf("got %q", got)
	}
}

// zstdLayer has the content of one layer, compressed in another way.
type zstdLayer struct {
	v1.Layer
	plain v1.Layer
}

func (l zstdLayer) DiffID() (v1.Hash, error) { return l.plain.DiffID() }

// TestFullDisk: a pull that does not fit says so, leaves nothing behind and harms nobody.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	srv := newServer(t, false)
	srv.push(t, "small:1", testImage(t, build.Spec{}, testLayer(t, "a=1")))
	srv.push(t, "large:1", testImage(t, build.Spec{}, testLayer(t, "fits="+big(1<<20)), testLayer(t, "large="+big(24<<20))))
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := open(t, dir)
	if _, err := s.PullImage(t.Context(), srv.host()+"/small:1", nil); err != nil {
		t.Fatal(err)
	}
	free := func() uint64 {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		return st.Bfree
	}
	before := free()
	_, err := s.PullImage(t.Context(), srv.host()+"/large:1", nil)
	if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "failed to pull and unpack image") || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("got error %v", err)
	}
	if after := free(); after+16 < before { // pages of directories may stay
		t.Errorf("%d blocks are still taken", before-after)
	}
	if _, err := s.PullImage(t.Context(), srv.host()+"/small:1", nil); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
	if _, _, err := s.Prepare(t.Context(), "c", srv.host()+"/small:1"); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
	if err := s.RemoveSnapshot(t.Context(), "c"); err != nil {
		t.Error(err)
	}
}

// TestBomb: a small layer that unpacks to far more than is allowed.
func TestBomb(t *testing.T) {
	srv := newServer(t, false)
	srv.push(t, "bomb:1", testImage(t, build.Spec{}, testLayer(t, "zeros="+strings.Repeat("\x00", 8<<20))))
	needRoot(t)
	s, err := Open(Options{Dir: t.TempDir(), Limits: unpack.Limits{Bytes: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PullImage(t.Context(), srv.host()+"/bomb:1", nil); !errors.Is(err, unpack.ErrTooLarge) {
		t.Errorf("got error %v", err)
	}
	checkEmpty(t, s)
}

func TestVerifiers(t *testing.T) {
	needRoot(t)
	srv := newServer(t, false)
	srv.push(t, "app:1", testImage(t, build.Spec{}, testLayer(t, "a=1")))
	for _, tc := range []struct {
		name    string
		scripts map[string]string
		fails   string
	}{
		{"none", nil, ""},
		{"content", map[string]string{"a": `[ "$1 $3 $5" = "-name -digest -stdin-media-type" ] && grep -q '"digest":"'$4'"' && echo fine`}, ""},
		{"one of two", map[string]string{"a": "exit 0", "b": "echo 'nobody has signed it'; exit 3"}, "SignatureValidationFailed: image verifier b rejected " + srv.host() + "/app:1 with digest sha256:"},
		{"reason", map[string]string{"b": "echo 'nobody has signed it'; exit 3"}, "(exit code 3): nobody has signed it"},
		{"crash", map[string]string{"b": "kill -9 $$"}, "SignatureValidationFailed: image verifier b: signal: killed"},
	} {
		dir := t.TempDir()
		for name, script := range tc.scripts {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(Options{Dir: t.TempDir(), VerifierDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.PullImage(t.Context(), srv.host()+"/app:1", nil)
		switch {
		case tc.fails == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails) || !strings.HasPrefix(err.Error(), "SignatureValidationFailed")):
			t.Errorf("%s: got error %v, want %q", tc.name, err, tc.fails)
		}
		if err != nil {
			checkEmpty(t, s)
		}
	}
}
