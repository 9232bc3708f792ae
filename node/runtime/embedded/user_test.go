package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/ptr"

	"clipper/node/runtime"
)

// account makes an image's root with the two files.
func account(t *testing.T, passwd, group string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"passwd": passwd, "group": group} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestAccountsAreFiles: an image whose account file is a FIFO is refused at once.
func TestAccountsAreFiles(t *testing.T) {
	root := account(t, "", "")
	path := filepath.Join(root, "etc", "passwd")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 1)
	go func() {
		_, err := resolveUser(root, &runtime.Security{}, "app")
		refused <- err
	}()
	select {
	case err := <-refused:
		if err == nil || !strings.Contains(err.Error(), "is no file") {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("waits for a writer")
	}
}

// FuzzResolveUser: no account file of an image makes the node panic, and IDs are those that were asked for.
func FuzzResolveUser(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/:\n", "app:x:1000:\nextra:x:7:app,root\n", "app:extra", int64(5), uint8(0))
	f.Add("app:x:-1:99999999999::/:\n:::\n", "::::\nx", "4294967295:4294967296", int64(-1), uint8(1))
	f.Add("", "", "", int64(1), uint8(3))
	f.Fuzz(func(t *testing.T, passwd, group, imageUser string, id int64, asked uint8) {
		sec := &runtime.Security{SupplementalStrict: asked&4 != 0}
		if asked&1 != 0 {
			sec.User = ptr.To(id)
		}
		if asked&2 != 0 {
			sec.Group = ptr.To(id)
		}
		u, err := resolveUser(account(t, passwd, group), sec, imageUser)
		switch {
		case err != nil:
		case sec.User != nil && int64(u.UID) != id:
			t.Errorf("user %d, asked for %d", u.UID, id)
		case sec.Group != nil && int64(u.GID) != id:
			t.Errorf("group %d, asked for %d", u.GID, id)
		}
	})
}
