// Package tree holds the rules that the whole tree keeps: what every package must say, and which
// packages may not know of each other.
package tree

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath, Name, Doc string
	Imports               []string
	GoFiles               []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports,GoFiles", "clipper/...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 { // a folder of tests alone explains itself by them
			all = append(all, p)
		}
	}
	if len(all) < 20 {
		t.Fatalf("go list found %d packages only", len(all))
	}
	return all
}

// TestEveryPackageSaysWhatItIsFor: the first sentence of a package is where its reader starts.
func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) && !(p.Name == "main" && strings.Contains(p.Doc, " ")) {
			t.Errorf("%s: its doc comment is %q, want one that starts with %q", p.ImportPath, p.Doc, want)
		}
	}
}

// TestNamesAreConcepts: a package called util has not found its concept yet.
func TestNamesAreConcepts(t *testing.T) {
	for _, p := range packages(t) {
		last := p.ImportPath[strings.LastIndex(p.ImportPath, "/")+1:]
		if slices.Contains([]string{"util", "utils", "common", "helpers", "misc", "shared", "manager"}, last) {
			t.Errorf("%s: name the concept", p.ImportPath)
		}
	}
}

// TestArrows lists what a package may not import, and why.
func TestArrows(t *testing.T) {
	rules := []struct{ from, to, why string }{
		{`^clipper/`, `^k8s\.io/kubernetes`, "Clipper is written from scratch; upstream's monorepo is the conformance module's alone"},
		{`^clipper/catalogue`, `^(net|net/http|os|os/exec|k8s\.io/client-go/(kubernetes|rest)|clipper/(apiserver|store|node|daemon).*)$`, "the catalogue decides, it does not act"},
		{`^clipper/api$`, `^clipper/`, "everything rests on api"},
		{`^clipper/store`, `^clipper/(apiserver|node|controllers|scheduler|catalogue|daemon)`, "the store knows objects, not what they mean"},
		{`^clipper/(controllers|scheduler|dns|service)`, `^clipper/(store|apiserver/(pipeline|served)|daemon|cli)`, "parts speak to the API through package api alone"},
		{`^clipper/node`, `^clipper/(store|apiserver|controllers|scheduler|daemon|cli)`, "a node needs no server in its process"},
		{`^clipper/node/podworker/lifecycle$`, `^(context|net|net/http|os|os/exec|log/slog|clipper/api|clipper/api/remote|clipper/node/podworker)$`, "a pod's life is decided there, and lived elsewhere"},
		{`^clipper/(apiserver|store|catalogue|node|service|dns|scheduler|controllers|image|pki|openapi|sandbox)`, `^clipper/(daemon|cli|cmd)`, "wiring comes last"},
	}
	for _, rule := range rules {
		from, to := regexp.MustCompile(rule.from), regexp.MustCompile(rule.to)
		for _, p := range packages(t) {
			if !from.MatchString(p.ImportPath) {
				continue
			}
			for _, i := range p.Imports {
				if to.MatchString(i) && i != p.ImportPath {
					t.Errorf("%s imports %s: %s", p.ImportPath, i, rule.why)
				}
			}
		}
	}
}
