package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// events is what test2json makes of a run in which a test below another fails and one is skipped.
const events = `{"Action":"run","Test":"TestA"}
{"Action":"run","Test":"TestA/good"}
{"Action":"pass","Test":"TestA/good"}
{"Action":"run","Test":"TestA/bad"}
{"Action":"output","Test":"TestA/bad","Output":"    a_test.go:12: wanted 1, got 2\n"}
{"Action":"fail","Test":"TestA/bad"}
{"Action":"fail","Test":"TestA"}
{"Action":"run","Test":"TestB"}
{"Action":"output","Test":"TestB","Output":"    b_test.go:3: not in Clipper: x\n"}
{"Action":"output","Test":"TestB","Output":"    gate.go:7: I1122 02:50:08.348222] Updated\n"}
{"Action":"skip","Test":"TestB"}
{"Action":"run","Test":"TestC"}
{"Action":"pass","Test":"TestC"}
{"Action":"run","Test":"TestD"}
{"Action":"fail"}
`

const written = `# What upstream's integration tests come to: outcome, package, test and, unless it passes, the reason.

fail p TestA/bad # wanted 1, got 2
fail p TestD # did not end
skip p TestB # not in Clipper: x
pass p TestC
`

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name, known      string
		update, partial  bool
		same             bool
		says, doesNotSay string
		left             string
	}{
		{name: "as known", known: written, same: true, says: "p: 1 passed, 2 failed, 1 skipped, 0 not as expected", left: written},
		{name: "fails, but has passed", known: strings.Replace(written, "fail p TestA/bad", "pass p TestA", 1), says: "TestA/bad: fail, expected nothing: wanted 1, got 2"},
		{name: "passes, but has failed", known: strings.Replace(written, "pass p TestC", "fail p TestC # broken", 1), says: "TestC: pass, expected fail"},
		{name: "is missing", known: written + "pass p TestE\n", says: "TestE: did not happen, expected pass"},
		{name: "is not asked for", known: written + "pass p TestE\n", partial: true, same: true, doesNotSay: "TestE"},
		{name: "written for the first time", update: true, same: true, left: written},
		{name: "reasons stay", known: strings.Replace(written, "wanted 1, got 2", "artefact", 1), update: true, same: true, left: strings.Replace(written, "wanted 1, got 2", "artefact", 1)},
		{name: "some written", known: "pass p TestE\n", update: true, partial: true, same: true, left: written + "pass p TestE\n"},
		{name: "other packages stay", known: "\npass q TestX\n", update: true, same: true, left: written + "\npass q TestX\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "results.txt")
			if err := os.WriteFile(file, []byte(tt.known), 0o600); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			same, err := run(strings.NewReader(events), &out, file, "p", tt.update, tt.partial)
			if err != nil || same != tt.same {
				t.Errorf("same %v, %v; said\n%s", same, err, out.String())
			}
			if !strings.Contains(out.String(), tt.says) || tt.doesNotSay != "" && strings.Contains(out.String(), tt.doesNotSay) {
				t.Errorf("said\n%s", out.String())
			}
			if left, _ := os.ReadFile(file); tt.left != "" && string(left) != tt.left {
				t.Errorf("left\n%s", left)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"pass p", "perhaps p TestA", "pass p TestA why"} {
		if all, err := parse(text); err == nil {
			t.Errorf("%q: %v", text, all)
		}
	}
}
