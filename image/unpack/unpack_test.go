package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("unpacking layers needs root")
	}
}

func pack(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range entries {
		body := ""
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Typeflag = tar.TypeReg
			body = "content of " + h.Name
			h.Size = int64(len(body))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1_000_000_000, 0)
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func dir(name string) tar.Header  { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
func file(name string) tar.Header { return tar.Header{Name: name} }
func link(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}
func hard(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
}

// outside makes a target directory with a neighbour that must stay untouched.
func outside(t testing.TB) (target, neighbour string) {
	t.Helper()
	base := t.TempDir()
	target, neighbour = filepath.Join(base, "target"), filepath.Join(base, "neighbour")
	for _, d := range []string{target, neighbour} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(neighbour, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return target, neighbour
}

func checkUntouched(t testing.TB, neighbour string) {
	t.Helper()
	entries, err := os.ReadDir(neighbour)
	if err != nil || len(entries) != 1 {
		t.Fatalf("neighbour holds %v (%v), want only the secret", entries, err)
	}
	info, err := os.Stat(filepath.Join(neighbour, "secret"))
	b, _ := os.ReadFile(filepath.Join(neighbour, "secret"))
	if err != nil || info.Mode().Perm() != 0o600 || string(b) != "secret" {
		t.Fatalf("secret changed: %v %v %q", info, err, b)
	}
}

func TestHostile(t *testing.T) {
	needRoot(t)
	for _, tc := range []struct {
		name    string
		entries func(neighbour string) []tar.Header
		refused string // part of the error; "" when the entry lands inside harmlessly
		lands   string
	}{
		{"dotdot", func(string) []tar.Header { return []tar.Header{file("../neighbour/x")} }, `contains ".."`, ""},
		{"dotdot inside", func(string) []tar.Header { return []tar.Header{file("a/../../neighbour/x")} }, `contains ".."`, ""},
		{"absolute", func(n string) []tar.Header { return []tar.Header{file(n + "/x")} }, "", "neighbour/x"},
		{"absolute link", func(n string) []tar.Header { return []tar.Header{dir("real"), link("l", "/real"), file("l/x")} }, "", "real/x"},
		{"relative link out", func(string) []tar.Header { return []tar.Header{link("l", "../neighbour"), file("l/x")} }, "open directory", ""},
		{"absolute link out", func(n string) []tar.Header { return []tar.Header{link("l", n), file("l/x")} }, "open directory", ""},
		{"link chain out", func(n string) []tar.Header {
			return []tar.Header{link("a", "b"), link("b", n), file("a/secret")}
		}, "open directory", ""},
		{"write through link to file", func(n string) []tar.Header {
			return []tar.Header{link("s", n+"/secret"), file("s")}
		}, "", "s"},
		{"hard link out", func(n string) []tar.Header { return []tar.Header{hard("s", "../neighbour/secret")} }, `contains ".."`, ""},
		{"hard link through link", func(n string) []tar.Header {
			return []tar.Header{link("d", n), hard("s", "d/secret")}
		}, "hard link", ""},
		{"hard link absolute", func(n string) []tar.Header { return []tar.Header{hard("s", n+"/secret")} }, "hard link", ""},
		{"hard link to directory", func(string) []tar.Header { return []tar.Header{dir("d"), hard("s", "d")} }, "not a file", ""},
		{"link loop", func(string) []tar.Header { return []tar.Header{link("a", "b"), link("b", "a"), file("a/x")} }, "open directory", ""},
		{"directory over link", func(n string) []tar.Header { return []tar.Header{link("d", n), dir("d"), file("d/x")} }, "", "d/x"},
		{"whiteout without name", func(string) []tar.Header { return []tar.Header{file(".wh.")} }, "whiteout without a name", ""},
		{"whiteout of dotdot", func(string) []tar.Header { return []tar.Header{file("a/.wh...")} }, "whiteout without a name", ""},
		{"whiteout through link", func(n string) []tar.Header { return []tar.Header{link("d", n), file("d/.wh.secret")} }, "open directory", ""},
		{"root is a file", func(string) []tar.Header { return []tar.Header{link("./", "/etc")} }, "root of a layer", ""},
		{"bad owner", func(string) []tar.Header { return []tar.Header{{Name: "x", Uid: -2}} }, "not a valid user", ""},
		{"long part", func(string) []tar.Header { return []tar.Header{file(strings.Repeat("a", 300))} }, "too long", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target, neighbour := outside(t)
			err := Layer(t.Context(), bytes.NewReader(pack(t, tc.entries(neighbour)...)), target, Limits{})
			checkUntouched(t, neighbour)
			if tc.refused != "" {
				var pe *PathError
				if err == nil || !errors.As(err, &pe) || !strings.Contains(err.Error(), tc.refused) {
					t.Fatalf("got error %v, want a PathError with %q", err, tc.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tc.name == "absolute" {
				tc.lands = filepath.Join(neighbour, "x")
			}
			if info, err := os.Lstat(filepath.Join(target, tc.lands)); err != nil || !info.Mode().IsRegular() {
				t.Fatalf("%s: %v %v", tc.lands, info, err)
			}
		})
	}
}

func TestKept(t *testing.T) {
	needRoot(t)
	target, _ := outside(t)
	caps := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw
	entries := []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 3, Gid: 4},
		{Name: "tmp", Typeflag: tar.TypeDir, Mode: 0o1777, ModTime: time.Unix(5, 0)},
		{Name: "tmp/suid", Mode: 0o4755, Uid: 1, Gid: 2, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": caps, "SCHILY.xattr.user.note": "hi",
			"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.trusted.overlay.opaque": "y",
		}},
		hard("tmp/again", "tmp/suid"),
		link("tmp/dangling", "/no/where"),
		{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o622},
		{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666},
		{Name: "dev/mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1},
		{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8},
		{Name: "dev/wh", Typeflag: tar.TypeChar},
	}
	if err := Layer(t.Context(), bytes.NewReader(pack(t, entries...)), target, Limits{}); err != nil {
		t.Fatal(err)
	}
	var st, again unix.Stat_t
	stat := func(name string, into *unix.Stat_t) {
		t.Helper()
		if err := unix.Lstat(filepath.Join(target, name), into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	stat("tmp/suid", &st)
	stat("tmp/again", &again)
	if st.Mode != unix.S_IFREG|0o4755 || st.Uid != 1 || st.Gid != 2 || st.Ino != again.Ino {
		t.Errorf("suid file: mode %o owner %d:%d inodes %d %d", st.Mode, st.Uid, st.Gid, st.Ino, again.Ino)
	}
	stat("tmp", &st)
	if st.Mode&0o7777 != 0o1777 || st.Mtim.Sec != 5 {
		t.Errorf("tmp: mode %o time %d", st.Mode, st.Mtim.Sec)
	}
	stat(".", &st)
	if st.Mode&0o7777 != 0o750 || st.Uid != 3 {
		t.Errorf("root: mode %o uid %d", st.Mode, st.Uid)
	}
	stat("dev/null", &st)
	if st.Rdev != unix.Mkdev(1, 3) || st.Mode != unix.S_IFCHR|0o666 {
		t.Errorf("dev/null: %x %o", st.Rdev, st.Mode)
	}
	for _, gone := range []string{"dev/mem", "dev/sda", "dev/wh"} {
		if _, err := os.Lstat(filepath.Join(target, gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made (%v)", gone, err)
		}
	}
	attr := func(name string) string {
		buf := make([]byte, 64)
		n, err := unix.Lgetxattr(filepath.Join(target, "tmp/suid"), name, buf)
		if err != nil {
			return err.Error()
		}
		return string(buf[:n])
	}
	if got := attr("security.capability"); got != caps {
		t.Errorf("capability %q", got)
	}
	for _, name := range []string{"trusted.overlay.redirect", "trusted.overlay.opaque"} {
		if got := attr(name); got != unix.ENODATA.Error() {
			t.Errorf("%s = %q", name, got)
		}
	}
}

func TestWhiteouts(t *testing.T) {
	needRoot(t)
	for _, tc := range []struct {
		name    string
		entries []tar.Header
		want    map[string]string // name → "whiteout", "opaque", "dir", "file", "none"
	}{
		{"plain", []tar.Header{file("a/.wh.b")}, map[string]string{"a": "dir", "a/b": "whiteout", "a/.wh.b": "none"}},
		{"opaque", []tar.Header{dir("a"), file("a/.wh..wh..opq"), file("a/x")}, map[string]string{"a": "opaque", "a/x": "file"}},
		{"opaque after content", []tar.Header{file("a/x"), file("a/.wh..wh..opq")}, map[string]string{"a": "opaque", "a/x": "file"}},
		{"own file wins", []tar.Header{file("a/b"), file("a/.wh.b")}, map[string]string{"a/b": "file"}},
		{"own file wins, other order", []tar.Header{file("a/.wh.b"), file("a/b")}, map[string]string{"a/b": "file"}},
		{"own directory becomes opaque", []tar.Header{dir("d"), file("d/x"), file(".wh.d")}, map[string]string{"d": "opaque", "d/x": "file"}},
		{"other order", []tar.Header{file(".wh.d"), dir("d"), file("d/x")}, map[string]string{"d": "opaque", "d/x": "file"}},
		{"aufs bookkeeping", []tar.Header{dir(".wh..wh.plnk"), file(".wh..wh.aufs")}, map[string]string{".wh..wh.plnk": "none", ".wh..wh.aufs": "none"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target, _ := outside(t)
			if err := Layer(t.Context(), bytes.NewReader(pack(t, tc.entries...)), target, Limits{}); err != nil {
				t.Fatal(err)
			}
			for name, want := range tc.want {
				if got := describe(filepath.Join(target, name)); got != want {
					t.Errorf("%s is %s, want %s", name, got, want)
				}
			}
		})
	}
}

func describe(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "none"
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		if st.Rdev == 0 {
			return "whiteout"
		}
		return "device"
	case unix.S_IFDIR:
		if n, _ := unix.Lgetxattr(path, opaqueXattr, make([]byte, 4)); n == 1 {
			return "opaque"
		}
		return "dir"
	case unix.S_IFREG:
		return "file"
	}
	return "other"
}

func TestLimits(t *testing.T) {
	needRoot(t)
	layer := pack(t, file("a"), file("b"), file("c"))
	for _, l := range []Limits{{Bytes: 20}, {Entries: 2}} {
		target, _ := outside(t)
		if err := Layer(t.Context(), bytes.NewReader(layer), target, l); !errors.Is(err, ErrTooLarge) {
			t.Errorf("limits %+v: error %v", l, err)
		}
	}
	// A sparse file of a terabyte is a few bytes of tar.
	var sparse bytes.Buffer
	tw := tar.NewWriter(&sparse)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: 1 << 40, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	target, _ := outside(t)
	if err := Layer(t.Context(), &sparse, target, Limits{Bytes: 1 << 30}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("huge file: error %v", err)
	}
}

func TestCancelled(t *testing.T) {
	needRoot(t)
	target, _ := outside(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Layer(ctx, bytes.NewReader(pack(t, file("a"))), target, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func FuzzLayer(f *testing.F) {
	needRoot(f)
	f.Add(pack(f, dir("a"), file("a/b"), link("l", "/a"), hard("h", "a/b"), file("l/.wh.x"), file("a/.wh..wh..opq")))
	f.Add(pack(f, link("l", ".."), file("l/neighbour/x")))
	f.Add(pack(f, file("a"), file("a/b")))
	f.Fuzz(func(t *testing.T, b []byte) {
		target, neighbour := outside(t)
		_ = Layer(t.Context(), bytes.NewReader(b), target, Limits{Bytes: 1 << 20, Entries: 1000})
		checkUntouched(t, neighbour)
	})
}
