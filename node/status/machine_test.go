package status

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestHugePages(t *testing.T) {
	dir := t.TempDir()
	for name, count := range map[string]string{"hugepages-2048kB": "3\n", "hugepages-1048576kB": "0\n", "other": ""} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "nr_hugepages"), []byte(count), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := hugePages(dir)
	if want := map[string]int64{"2Mi": 6 << 20, "1Gi": 0}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := hugePages(filepath.Join(dir, "none")); err != nil || len(got) != 0 {
		t.Errorf("a kernel without them: %v, %v", got, err)
	}
}
