package scheduler

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What decides below this package must not act: no clock of its own, no files, no network, no client.
func TestDecisionsArePure(t *testing.T) {
	files, err := filepath.Glob("*/*.go")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			if slices.Contains([]string{"os", "net", "net/http", "sync", "log/slog", "context", "math/rand", "math/rand/v2"}, path) || (strings.HasPrefix(path, "clipper/api") && path != "clipper/api/podrefs") || strings.HasPrefix(path, "k8s.io/client-go") {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}
