package mutation

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// longest is the length of the untyped constants that are kept: longer ones are prose.
const longest = 60

// Constants are the string constants of the API's Go packages.
type Constants struct {
	typed   map[string][]string // the values of a named type, by its package path and name
	untyped []string
}

// ReadConstants reads them from the source of the k8s.io/api that the test is built with.
func ReadConstants() (*Constants, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		return nil, fmt.Errorf("go list -m k8s.io/api: %w", err)
	}
	return readConstants(strings.TrimSpace(string(out)))
}

func readConstants(dir string) (*Constants, error) {
	c := &Constants{typed: map[string][]string{}}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !written(entry.Name()) {
			return err
		}
		return c.readFile(dir, path)
	})
	if err != nil {
		return nil, fmt.Errorf("read constants of %s: %w", dir, err)
	}
	return c, nil
}

// written says whether a file's name is that of source that nobody generated.
func written(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasPrefix(name, "zz_") &&
		!strings.HasSuffix(name, ".pb.go") && !strings.HasSuffix(name, "_test.go")
}

func (c *Constants) readFile(dir, path string) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(dir, filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			c.add("k8s.io/api/"+filepath.ToSlash(rel), spec.(*ast.ValueSpec))
		}
	}
	return nil
}

func (c *Constants) add(pkg string, spec *ast.ValueSpec) {
	for _, value := range spec.Values {
		literal, ok := value.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			continue
		}
		text, err := strconv.Unquote(literal.Value)
		if err != nil {
			continue
		}
		if name, ok := spec.Type.(*ast.Ident); ok {
			c.typed[pkg+"."+name.Name] = append(c.typed[pkg+"."+name.Name], text)
		} else if len(text) < longest {
			c.untyped = append(c.untyped, text)
		}
	}
}
