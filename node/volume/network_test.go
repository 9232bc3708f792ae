package volume

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// fakeMount puts a mount program on the path that notes its arguments and mounts a tmpfs, or fails with a text.
func fakeMount(t *testing.T, fails string) (arguments string) {
	t.Helper()
	dir := t.TempDir()
	arguments = filepath.Join(dir, "arguments")
	script := "#!/bin/sh\necho \"$@\" >> " + arguments + "\nfor last; do :; done\nPATH=" + os.Getenv("PATH") + " exec mount -t tmpfs none \"$last\"\n"
	if fails != "" {
		script = "#!/bin/sh\necho '" + fails + "' >&2\nexit 32\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "mount"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return arguments
}

func TestNFSIsMountedByTheSystem(t *testing.T) {
	b := newBench(t)
	arguments := fakeMount(t, "")
	pod := podWith(vol("share", corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "files", Path: "/export", ReadOnly: true}}))
	for range 2 { // the second time it is there
		if err := b.Mount(context.Background(), pod); err != nil {
			t.Fatal(err)
		}
	}
	path, err := b.Path(context.Background(), pod, "c", &corev1.VolumeMount{Name: "share", MountPath: "/d"}, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(arguments)
	if want := "-t nfs -o ro files:/export " + path + "\n"; err != nil || string(got) != want {
		t.Errorf("mount was called with %q, %v; want %q", got, err, want)
	}
	if err := os.WriteFile(path+"/f", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Unmount(context.Background(), pod.UID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the mount point after Unmount: %v", err)
	}
}

func TestMissingMountHelper(t *testing.T) {
	b := newBench(t)
	const why = "bad option; you might need a /sbin/mount.nfs helper program."
	fakeMount(t, why)
	err := b.Mount(context.Background(), podWith(vol("share", corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "files", Path: "/export"}})))
	if err == nil || !strings.HasPrefix(err.Error(), `MountVolume.SetUp failed for volume "share" : mount failed: exit status 32`) || !strings.Contains(err.Error(), why) {
		t.Errorf("err = %v", err)
	}
	if err := b.Unmount(context.Background(), "uid-1"); err != nil {
		t.Error(err)
	}
}
