package daemon

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestSharePort: with SO_REUSEPORT two sockets listen at one address, without it one does.
func TestSharePort(t *testing.T) {
	for _, share := range []bool{false, true} {
		o := FrontOptions{SharePort: share, ShareAddress: true}
		first, err := o.listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		second, err := o.listen(first.Addr().String())
		if err == nil {
			second.Close()
		}
		if (err == nil) != share {
			t.Errorf("shared %t: %v", share, err)
		}
		first.Close()
	}
}

// TestListenDebug: what an earlier process has left is no obstacle, a file of somebody's is.
func TestListenDebug(t *testing.T) {
	path := filepath.Join(t.TempDir(), "debug")
	for range 2 {
		l, err := listenDebug(path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false) // as a process that is killed leaves it
		l.Close()
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := listenDebug(path); err == nil {
		l.Close()
		t.Error("somebody's file was replaced")
	}
	if l, err := listenDebug(""); l != nil || err != nil {
		t.Errorf("no path: %v %v", l, err)
	}
}
