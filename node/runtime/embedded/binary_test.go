package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnpackShim runs with whatever this test binary was built with: the shim, or none.
func TestUnpackShim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bin")
	path, build, err := unpackShim(dir)
	if errors.Is(err, ErrNoShim) {
		if !strings.Contains(err.Error(), "make build") {
			t.Errorf("%v: says no way out", err)
		}
		return
	}
	if err != nil || !strings.HasSuffix(path, build) {
		t.Fatal(path, build, err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o755 {
		t.Fatal(st.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "clipper-shim-old"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1000); err != nil { // as a crash might leave it
		t.Fatal(err)
	}
	again, _, err := unpackShim(dir)
	if now, serr := os.Stat(path); err != nil || again != path || serr != nil || now.Size() != st.Size() {
		t.Errorf("a torn file was taken: %v %v", err, serr)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}

func TestParseSignal(t *testing.T) {
	for name, want := range map[string]int{"SIGTERM": 15, "term": 15, "9": 9, "SIGRTMIN+3": 37, "RTMIN": 34, "SIGRTMAX-1": 63, "SIGNOPE": 0, "0": 0, "99": 0, "": 0, "RTMIN+99": 0} {
		if got, ok := parseSignal(name); int(got) != want && ok || ok != (want != 0) {
			t.Errorf("%q: %d %v, want %d", name, got, ok, want)
		}
	}
	if sig, err := stopSignal("", ""); sig != 15 || err != nil {
		t.Errorf("none: %v %v", sig, err)
	}
	if sig, err := stopSignal("", "SIGQUIT"); sig != 3 || err != nil {
		t.Errorf("the image's: %v %v", sig, err)
	}
	if _, err := stopSignal("SIGNOPE", "SIGQUIT"); err == nil {
		t.Error("an unknown one is taken")
	}
}
