package imagecmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// run executes a command line on a data directory.
func run(t *testing.T, dataDir string, args ...string) (string, error) {
	t.Helper()
	cmd := New()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&bytes.Buffer{})
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(append(args, "--data-dir", dataDir))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func must(t *testing.T, dataDir string, args ...string) string {
	t.Helper()
	out, err := run(t, dataDir, args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return out
}

func TestFromDirectoryToOtherMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the image store needs root")
	}
	here, there, root := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "app"), []byte("#!/bin/true\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, here, "build-from-dir", root, "--tag", "app:1", "--entrypoint", "/app", "-e", "A=1")
	file := filepath.Join(t.TempDir(), "app.tar")
	must(t, here, "export", "-o", file, "app:1")
	if out := must(t, there, "import", file); !strings.HasPrefix(out, "docker.io/library/app:1 ") {
		t.Errorf("import printed %q", out)
	}
	if a, b := must(t, here, "list"), must(t, there, "list"); a != b || !strings.Contains(a, "docker.io/library/app:1") {
		t.Errorf("lists differ:\n%s\n%s", a, b)
	}
	if out := must(t, there, "inspect", "app:1"); !strings.Contains(out, `"Imported": true`) || !strings.Contains(out, `"A=1"`) {
		t.Errorf("inspect printed %s", out)
	}
	must(t, there, "pin", "app:1")
	if out := must(t, there, "prune", "--all"); out != "" {
		t.Errorf("a pinned image was removed: %s", out)
	}
	must(t, there, "unpin", "app:1")
	if out := must(t, there, "prune"); !strings.HasPrefix(out, "docker.io/library/app:1 ") { // unpinned, it is like a pulled one
		t.Errorf("prune printed %q", out)
	}
	must(t, there, "load", file)
	must(t, there, "remove", "app:1")
	if out := must(t, there, "list", "-q"); out != "" {
		t.Errorf("after removal: %q", out)
	}
	for _, tc := range []struct{ args, want string }{
		{"remove app:1", `image "app:1": not found`},
		{"import " + root + "/none.tar", "no such file"},
		{"build-from-dir " + root, `required flag(s) "tag" not set`},
		{"build-from-dir " + root + " --tag Bad/Name:", "invalid reference format"},
		{"pull --user me x", "go together"},
		{"export app:1", `required flag(s) "output" not set`},
	} {
		if _, err := run(t, there, strings.Fields(tc.args)...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.args, err, tc.want)
		}
	}
}
