package volume

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// A container that swaps a directory for a link while its next one starts must never get what lies outside.
func TestSubPathIsNotRaced(t *testing.T) {
	b := newBench(t)
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/secret", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"real/deep", "spare/deep"} {
		if err := os.MkdirAll(filepath.Join(b.host, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, b.host+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(outside+"/deep", 0o755); err != nil {
		t.Fatal(err)
	}
	pod := podWith(vol("host", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: b.host}}))
	if err := b.Mount(context.Background(), pod); err != nil {
		t.Fatal(err)
	}
	stop, swapped := make(chan struct{}), make(chan int)
	go func() { // what the container does: real is now a directory, now a link out of the volume
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				swapped <- n
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, b.host+"/real", unix.AT_FDCWD, b.host+"/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	var want unix.Stat_t
	if err := unix.Stat(outside, &want); err != nil {
		t.Fatal(err)
	}
	m := corev1.VolumeMount{Name: "host", MountPath: "/m"}
	refused := 0
	for range 500 {
		for _, sub := range []string{"real", "real/deep", "real/new"} {
			path, err := b.Path(context.Background(), pod, "c", &m, sub)
			if err != nil {
				refused++
				continue
			}
			if _, err := os.Lstat(filepath.Join(path, "secret")); err == nil {
				t.Fatalf("subPath %s shows what lies outside", sub)
			}
			var got unix.Stat_t
			if err := unix.Stat(filepath.Join(path, ".."), &got); err == nil && got.Dev == want.Dev && got.Ino == want.Ino {
				t.Fatalf("subPath %s lies outside", sub)
			}
		}
	}
	close(stop)
	if n := <-swapped; n < 100 || refused == 0 || refused == 1500 {
		t.Errorf("%d swaps, %d of 1500 refused: that was no race", n, refused)
	}
	if _, err := os.Stat(outside + "/new"); err == nil {
		t.Error("a directory was made outside")
	}
	if err := b.Unmount(context.Background(), pod.UID); err != nil {
		t.Fatal(err)
	}
}
