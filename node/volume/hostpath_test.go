package volume

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

func TestHostPathTypes(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(path("dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Symlink("dir", path("link")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		kind  corev1.HostPathType
		good  []string // names that pass
		wrong []string
		what  string
	}{
		{corev1.HostPathUnset, []string{"dir", "file", "nothing"}, nil, ""},
		{corev1.HostPathDirectory, []string{"dir", "link"}, []string{"file", "pipe", "nothing"}, "directory"},
		{corev1.HostPathDirectoryOrCreate, []string{"dir", "link", "made/deep"}, []string{"file"}, "directory"},
		{corev1.HostPathFile, []string{"file"}, []string{"dir", "socket", "pipe", "nothing"}, "file"},
		{corev1.HostPathFileOrCreate, []string{"file", "touched"}, []string{"dir", "pipe", "no/parent"}, "file"},
		{corev1.HostPathSocket, []string{"socket"}, []string{"dir", "file", "nothing"}, "socket file"},
		{corev1.HostPathCharDev, []string{"/dev/null"}, []string{"dir", "file"}, "character device"},
		{corev1.HostPathBlockDev, nil, []string{"dir", "/dev/null", "nothing"}, "block device"},
	} {
		at := func(name string) string {
			if strings.HasPrefix(name, "/") {
				return name
			}
			return path(name)
		}
		for _, name := range tc.good {
			if err := checkHostPath(at(name), &tc.kind); err != nil {
				t.Errorf("%q %s: %v", tc.kind, name, err)
			}
		}
		for _, name := range tc.wrong {
			want := "hostPath type check failed: " + at(name) + " is not a " + tc.what
			if err := checkHostPath(at(name), &tc.kind); err == nil || err.Error() != want {
				t.Errorf("%q %s: %v, want %s", tc.kind, name, err, want)
			}
		}
	}
	bad := corev1.HostPathType("Portal")
	if err := checkHostPath(dir, &bad); err == nil || err.Error() != "Portal is an invalid volume type" {
		t.Errorf("err = %v", err)
	}
}
