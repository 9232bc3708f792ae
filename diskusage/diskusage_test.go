package diskusage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func write(t *testing.T, path string, size int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOf(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "sub", "a"), 8192)
	if err := os.Link(filepath.Join(dir, "sub", "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hole"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "hole"), 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(dir, "root")); err != nil {
		t.Fatal(err)
	}
	u, err := Of(context.Background(), dir)
	if err != nil || u.Inodes != 5 || u.Bytes < 8192 || u.Bytes > 8192+4*4096 {
		t.Errorf("got %+v, %v; want 5 inodes, about 8192 bytes", u, err)
	}
}

func TestOfStaysOnItsFileSystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	inner := filepath.Join(dir, "mnt")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	before, err := Of(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", inner, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(inner, unix.MNT_DETACH)
	write(t, filepath.Join(inner, "f"), 65536)
	if u, err := Of(context.Background(), dir); err != nil || u.Bytes > before.Bytes {
		t.Errorf("got %+v, %v; want no more than %+v", u, err, before)
	}
}

func TestOfEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Of(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's end", err)
	}
	if u, err := Of(context.Background(), filepath.Join(t.TempDir(), "gone")); err != nil || u != (Usage{}) {
		t.Errorf("a directory that is not there: %+v, %v", u, err)
	}
}
