package image

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"clipper/image/build"
	"clipper/image/registry"
	"clipper/node/runtime"
)

// server is a registry on loopback. With user set it wants basic authentication, with tokens bearer tokens
// that its own token service hands out for the same user.
type server struct {
	*httptest.Server
	user, password string
	tokens         bool
	tamper         func(w http.ResponseWriter, r *http.Request) bool
	requests       atomic.Int64
	namespaces     atomic.Value // last ns parameter
}

func newServer(t testing.TB, secure bool) *server {
	t.Helper()
	s := &server{}
	store := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if ns := r.URL.Query().Get("ns"); ns != "" {
			s.namespaces.Store(ns)
		}
		if s.authorize(w, r) && (s.tamper == nil || !s.tamper(w, r)) {
			store.ServeHTTP(w, r)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *server) authorize(w http.ResponseWriter, r *http.Request) bool {
	user, password, basic := r.BasicAuth()
	known := basic && user == s.user && password == s.password
	switch {
	case s.user == "":
		return true
	case r.URL.Path == "/token":
		if !known {
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
			return false
		}
		json.NewEncoder(w).Encode(map[string]string{"token": "t0ken"})
		return false
	case s.tokens && r.Header.Get("Authorization") == "Bearer t0ken", !s.tokens && known:
		return true
	case s.tokens:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, s.URL))
	default:
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	}
	w.WriteHeader(http.StatusUnauthorized)
	io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
	return false
}

func (s *server) host() string { _, h, _ := strings.Cut(s.URL, "://"); return h }

func (s *server) push(t testing.TB, ref string, img remote.Taggable) {
	t.Helper()
	target, err := name.ParseReference(s.host()+"/"+ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	opts := []remote.Option{remote.WithAuth(&authn.Basic{Username: s.user, Password: s.password}), remote.WithTransport(s.Client().Transport)}
	switch img := img.(type) {
	case v1.Image:
		err = remote.Write(target, img, opts...)
	case v1.ImageIndex:
		err = remote.WriteIndex(target, img, opts...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// hosts writes a hosts.toml for a registry and returns the folder.
func hosts(t testing.TB, registry, content string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, registry), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, registry, "hosts.toml"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (s *server) caFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func openWith(t testing.TB, c *registry.Config) *Store {
	t.Helper()
	needRoot(t)
	s, err := Open(Options{Dir: t.TempDir(), Registries: c})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPullAuthentication(t *testing.T) {
	right, wrong := runtime.PullAuth{Username: "u", Password: "p"}, runtime.PullAuth{Username: "u", Password: "x"}
	for _, tokens := range []bool{false, true} {
		srv := newServer(t, true)
		srv.user, srv.password = "u", "p"
		srv.push(t, "app:1", testImage(t, build.Spec{User: "me"}, testLayer(t, "a=1")))
		srv.tokens = tokens
		c := &registry.Config{HostsDirs: []string{hosts(t, srv.host(), fmt.Sprintf("server = %q\nca = %q\n", srv.URL, srv.caFile(t)))}}
		for _, tc := range []struct {
			auth []runtime.PullAuth
			want string
		}{
			{[]runtime.PullAuth{right}, ""}, {[]runtime.PullAuth{wrong, right}, ""},
			{nil, "pull access denied"}, {[]runtime.PullAuth{wrong}, "pull access denied"},
		} {
			s := openWith(t, c)
			img, err := s.PullImage(t.Context(), srv.host()+"/app:1", tc.auth)
			if tc.want == "" {
				if err != nil || img.User != "me" {
					t.Errorf("tokens %v, auth %v: %+v, %v", tokens, tc.auth, img, err)
				}
				continue
			}
			var pe *PullError
			if !errors.As(err, &pe) || !errors.Is(err, registry.ErrUnauthorized) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("tokens %v, auth %v: error %v", tokens, tc.auth, err)
			}
			checkEmpty(t, s)
		}
	}
}

func TestPullErrors(t *testing.T) {
	srv := newServer(t, false)
	srv.push(t, "app:1", testImage(t, build.Spec{}, testLayer(t, "a=1")))
	s := openWith(t, nil)
	for ref, want := range map[string]error{
		srv.host() + "/app:2": registry.ErrNotFound, srv.host() + "/none": registry.ErrNotFound,
		"Nginx": ErrInvalidName, "a b": ErrInvalidName, "": ErrInvalidName,
	} {
		_, err := s.PullImage(t.Context(), ref, nil)
		if !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", ref, err, want)
		}
		t.Log(err)
	}
	if _, err := s.PullImage(t.Context(), "127.0.0.1:1/app", nil); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("closed port: %v", err)
	}
}

func TestPullVerifies(t *testing.T) {
	srv := newServer(t, false)
	srv.push(t, "app:1", testImage(t, build.Spec{}, testLayer(t, "a=1")))
	for what, tamper := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"layer": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			w.Write([]byte("something else"))
			return true
		},
		"cut": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("\x1f\x8b"))
			return true
		},
	} {
		srv.tamper = tamper
		s := openWith(t, nil)
		if _, err := s.PullImage(t.Context(), srv.host()+"/app:1", nil); err == nil {
			t.Errorf("%s: no error", what)
		}
		checkEmpty(t, s)
	}
}

func TestPullTLS(t *testing.T) {
	srv := newServer(t, true)
	srv.push(t, "app:1", testImage(t, build.Spec{}, testLayer(t, "a=1")))
	for content, want := range map[string]string{
		"": "certificate",
		fmt.Sprintf("server = %q\nskip_verify = true\n", srv.URL):     "",
		fmt.Sprintf("server = %q\nca = %q\n", srv.URL, srv.caFile(t)): "",
		fmt.Sprintf("server = %q\nca = \"nowhere.pem\"\n", srv.URL):   "nowhere.pem",
		"server = 7\n": "hosts.toml",
	} {
		s := openWith(t, &registry.Config{HostsDirs: []string{hosts(t, srv.host(), content)}})
		_, err := s.PullImage(t.Context(), srv.host()+"/app:1", nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
}

// A private address is not loopback: no silent fall back to plain HTTP.
func TestNoPlainHTTPUnasked(t *testing.T) {
	refuse := &http.Transport{TLSClientConfig: &tls.Config{}, Proxy: nil}
	srv := newServer(t, false)
	refuse.DialContext = dialTo(srv.Listener.Addr().String())
	s := openWith(t, &registry.Config{Transport: refuse})
	if _, err := s.PullImage(t.Context(), "10.9.8.7:5000/app:1", nil); err == nil {
		t.Error("pulled over plain HTTP")
	}
	if n := srv.requests.Load(); n > 0 {
		t.Errorf("%d requests went out unencrypted", n)
	}
	srv.push(t, "app:1", testImage(t, build.Spec{}, testLayer(t, "a=1")))
	s = openWith(t, &registry.Config{Transport: refuse, PlainHTTP: []string{"10.9.8.7:5000"}})
	if _, err := s.PullImage(t.Context(), "10.9.8.7:5000/app:1", nil); err != nil {
		t.Error("configured for plain HTTP:", err)
	}
}

func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
}

func TestPullFromMirror(t *testing.T) {
	mirror := newServer(t, false)
	img := testImage(t, build.Spec{User: "mirrored"}, testLayer(t, "a=1"))
	mirror.push(t, "library/nginx:latest", img)
	mirror.push(t, "busybox:latest", img)
	for registryName, ref := range map[string]string{"docker.io": "nginx", "registry.k8s.io": "k8s.gcr.io/busybox", "_default": "quay.io/busybox"} {
		dir := hosts(t, registryName, fmt.Sprintf("[host.%q]\n capabilities = [\"pull\", \"resolve\"]\n[host.%q]\n", "http://127.0.0.1:1", mirror.URL))
		s := openWith(t, &registry.Config{HostsDirs: []string{dir}})
		got, err := s.PullImage(t.Context(), ref, nil)
		if err != nil || got.User != "mirrored" {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
		if st, err := s.ImageStatus(t.Context(), ref); err != nil || st.ID != got.ID {
			t.Errorf("%s afterwards: %+v, %v", ref, st, err)
		}
		if ns := mirror.namespaces.Load(); ns == nil || ns == "" {
			t.Errorf("%s: the mirror was not told the registry's name", ref)
		}
	}
}

func TestPullPlatformAndDigest(t *testing.T) {
	srv := newServer(t, false)
	ours, other := testImage(t, build.Spec{User: "ours"}, testLayer(t, "a=1")), testImage(t, build.Spec{User: "other"}, testLayer(t, "a=2"))
	list := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: ours, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: goruntime.GOARCH}}})
	srv.push(t, "multi:1", list)
	srv.push(t, "foreign:1", mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}}))
	digest, err := list.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"/multi:1", "/multi@" + digest.String(), "/multi:wrong@" + digest.String()} {
		s := openWith(t, nil)
		got, err := s.PullImage(t.Context(), srv.host()+ref, nil)
		if err != nil || got.User != "ours" {
			t.Fatalf("%s: %+v, %v", ref, got, err)
		}
		if want := srv.host() + "/multi@" + digest.String(); len(got.Digests) != 1 || got.Digests[0] != want {
			t.Errorf("%s: digests %v, want %s", ref, got.Digests, want)
		}
		if _, err := s.ImageStatus(t.Context(), srv.host()+ref); err != nil {
			t.Errorf("%s afterwards: %v", ref, err)
		}
		before := srv.requests.Load()
		if _, err := s.PullImage(t.Context(), srv.host()+ref, nil); err != nil {
			t.Fatal(err)
		}
		if n := srv.requests.Load() - before; n > 5 {
			t.Errorf("%s: pulling again took %d requests", ref, n)
		}
	}
	if _, err := openWith(t, nil).PullImage(t.Context(), srv.host()+"/foreign:1", nil); err == nil || !strings.Contains(err.Error(), "no match for platform") {
		t.Errorf("foreign platform: %v", err)
	}
}

// TestImportedIsNotPulled: a pull asks the registry, whatever is there already.
func TestImportedIsNotPulled(t *testing.T) {
	s := openWith(t, &registry.Config{})
	const dead = "127.0.0.1:1/team/app:latest" // nothing listens there
	if _, err := s.Add(t.Context(), testImage(t, build.Spec{}, testLayer(t, "a=1")), dead); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PullImage(t.Context(), dead, nil); !errors.Is(err, runtime.ErrUnreachable) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("pulled from nowhere: %v", err)
	}
	if img, err := s.ImageStatus(t.Context(), dead); err != nil || !img.Imported {
		t.Errorf("the image is gone: %v, %v", img, err)
	}
	srv := newServer(t, false)
	if _, err := s.PullImage(t.Context(), srv.host()+"/team/app:latest", nil); err == nil || errors.Is(err, runtime.ErrUnreachable) {
		t.Errorf("a registry that answers: %v", err)
	}
}
