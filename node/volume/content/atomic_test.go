package content

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// names returns what a reader sees in dir, links followed, with contents.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			out = append(out, e.Name()+"/("+names(t, path)+")")
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("a name that leads nowhere: %v", err)
		}
		out = append(out, fmt.Sprintf("%s=%s", e.Name(), data))
	}
	return strings.Join(out, " ")
}

// Whatever was there before, a reader sees the files written last and nothing else.
func TestWriteAtomic(t *testing.T) {
	states := []map[string]string{
		{"a": "1", "b": "2"}, {"a": "1"}, {}, {"d/x": "1", "d/y": "2"}, {"d/x": "1"}, {"a": "1", "d/x": "3"}, {"d": "a file now"}, {"b": "2"},
	}
	for i, from := range states {
		for j, to := range states {
			dir := t.TempDir()
			for _, s := range []map[string]string{from, to, to} {
				files := map[string]file{}
				for n, v := range s {
					files[n] = file{data: []byte(v), mode: 0o644}
				}
				if err := writeAtomic(context.Background(), dir, files, nil); err != nil {
					t.Fatal(err)
				}
			}
			fresh := t.TempDir()
			for _, n := range slices.Sorted(maps.Keys(to)) {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(fresh, n)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(fresh, n), []byte(to[n]), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := names(t, dir), names(t, fresh); got != want {
				t.Errorf("from state %d to %d: %q, want %q", i, j, got, want)
			}
			if old, _ := filepath.Glob(dir + "/..2*"); len(old) != 1 {
				t.Errorf("from state %d to %d: %d directories", i, j, len(old))
			}
		}
	}
}
