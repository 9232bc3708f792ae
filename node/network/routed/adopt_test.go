package routed

import (
	"path/filepath"
	"testing"

	"clipper/node/network/netlab"
	"clipper/node/network/netns"
)

// A namespace that a container runtime has made is attached like one of our own, and stays the runtime's.
func TestAdopt(t *testing.T) {
	lab := netlab.New(t)
	a := openNode(t, lab.Node(), "a", "10.244.0.0/24", t.TempDir())
	path := filepath.Join(t.TempDir(), "theirs")
	if err := netns.Create(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Remove(path); err != nil {
			t.Error(err)
		}
	})
	for range 2 { // again without harm
		if err := a.Adopt("theirs", path); err != nil {
			t.Fatal(err)
		}
	}
	theirs := attach(t, a, "theirs")
	ours := attach(t, a, "ours")
	netlab.Serve(t, path, "tcp", ":80", "theirs")
	wantAnswer(t, ours.NetNS, "tcp", theirs.IPs[0].String()+":80", "theirs", ours.IPs[0])
	if at, ok := a.Lookup("theirs"); !ok || at.IPs[0] != theirs.IPs[0] {
		t.Errorf("%+v, %v", at, ok)
	}
	if err := a.Detach(t.Context(), "theirs"); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.Lookup("theirs"); ok || !netns.Exists(path) || netns.Exists(theirs.NetNS) {
		t.Error("after Detach: the runtime's namespace must be left, ours and the record not")
	}
	if err := a.Adopt("none", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a namespace that is not there was taken")
	}
}
