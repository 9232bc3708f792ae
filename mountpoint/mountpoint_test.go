package mountpoint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func is(t *testing.T, path string) bool {
	t.Helper()
	mounted, err := Is(path)
	if err != nil {
		t.Fatal(err)
	}
	return mounted
}

func bindMount(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Unmount(to) })
}

// What lies one on another is taken down as a whole; what is no mount, or not there, is nobody's failure.
func TestUnmount(t *testing.T) {
	dir := t.TempDir()
	bindMount(t, t.TempDir(), dir+"/m")
	bindMount(t, t.TempDir(), dir+"/m")
	if !is(t, dir+"/m") || is(t, dir) {
		t.Fatal("mount points are not told from others")
	}
	for _, path := range []string{dir + "/m", dir + "/m", dir + "/none"} {
		if err := Unmount(path); err != nil {
			t.Error(err)
		}
	}
	if is(t, dir+"/m") {
		t.Error("still mounted")
	}
}

// A tree is removed, and what is mounted in it is not.
func TestRemoveTree(t *testing.T) {
	dir, foreign := t.TempDir(), t.TempDir()
	if err := os.WriteFile(foreign+"/theirs", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/tree/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(foreign, dir+"/tree/link"); err != nil {
		t.Fatal(err)
	}
	bindMount(t, foreign, dir+"/tree/a/m")
	for range 2 { // the second time nothing is there
		if err := RemoveTree(dir + "/tree"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(dir + "/tree"); !os.IsNotExist(err) {
		t.Error("the tree is still there: ", err)
	}
	if _, err := os.Stat(foreign + "/theirs"); err != nil {
		t.Error("what was mounted in the tree, or linked, is gone: ", err)
	}
}

// What is shown lies inside, whatever links say.
func TestBindInside(t *testing.T) {
	base, outside, target := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(outside, base+"/out"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("new", base+"/in"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Unmount(target) })
	if err := BindInside(base, "new/deep", target); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(target+"/x", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := BindInside(base, "in", target); err != nil { // replaces the other
		t.Fatal(err)
	}
	if _, err := os.Stat(target + "/deep/x"); err != nil {
		t.Error(err)
	}
	for _, sub := range []string{"out", "out/made", "../x"} {
		if err := BindInside(base, sub, target); err == nil || !strings.Contains(err.Error(), "leads out of the volume") {
			t.Errorf("%s: %v", sub, err)
		}
	}
}
