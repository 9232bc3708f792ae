package fsgroup

import (
	"context"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestGive(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/d/f", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/outside", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", dir+"/d/link"); err != nil {
		t.Fatal(err)
	}
	if Has(dir+"/d", 4242) {
		t.Error("given before it is")
	}
	var done atomic.Int64
	if err := Give(context.Background(), dir+"/d", 4242, false, &done); err != nil || done.Load() != 3 {
		t.Fatalf("%v after %d files", err, done.Load())
	}
	if !Has(dir+"/d", 4242) || Has(dir+"/d", 1) || Has(dir+"/d/f", 4242) || Has(dir+"/none", 4242) {
		t.Error("the owner is mistaken")
	}
	for name, want := range map[string]struct {
		mode fs.FileMode
		gid  uint32
	}{
		"d": {fs.ModeDir | fs.ModeSetgid | 0o770, 4242}, "d/f": {0o660, 4242}, "outside": {0o600, uint32(os.Getgid())},
	} {
		info, err := os.Stat(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if gid := info.Sys().(*syscall.Stat_t).Gid; info.Mode() != want.mode || gid != want.gid {
			t.Errorf("%s: %v of group %d, want %v of %d", name, info.Mode(), gid, want.mode, want.gid)
		}
	}
}

func TestGiveEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Give(ctx, t.TempDir(), 4242, false, new(atomic.Int64)); err == nil {
		t.Error("the tree was gone through")
	}
}
