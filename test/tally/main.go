// Command tally runs `go test -json` with its own arguments, prints what failed with its output, one line
// per package otherwise, and ends with the line "N passed, N failed, N skipped". Its exit code is 1 if a
// test or a build failed, or if nothing ran.
//
// Tests that failed are run once more, alone: the suite starts real clusters on machines that may be busy. One
// that passes then is named as FLAKY, with its first output above, and does not fail the run.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// An event is a line of test2json.
type event struct {
	Action, Package, Test, Output string
	ImportPath, FailedBuild       string
	Elapsed                       float64
}

type tally struct {
	passed, failed, skipped int
	failures                map[string][]string         // top-level tests by package
	broken                  bool                        // something failed outside of a test
	output                  map[string]*strings.Builder // of what is still running, by package and test
}

func main() {
	t := run(os.Args[1:])
	if t.failed > 0 && !t.broken {
		t.again(flagsOf(os.Args[1:]))
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if t.failed > 0 || t.passed == 0 {
		os.Exit(1)
	}
}

// flagsOf returns the arguments in front of the packages.
func flagsOf(args []string) []string {
	for i, a := range args {
		if strings.HasPrefix(a, "./") || strings.HasPrefix(a, "clipper") {
			return args[:i]
		}
	}
	return args
}

// again runs the failed tests once more and moves those that pass now.
func (t *tally) again(flags []string) {
	for pkg, tests := range t.failures {
		args := append(append([]string{}, flags...), "-count=1", "-run", "^("+strings.Join(tests, "|")+")$", pkg)
		second := run(args)
		if second.failed > 0 || second.passed == 0 {
			continue
		}
		for _, name := range tests {
			fmt.Println("FLAKY", pkg, name)
		}
		t.failed -= len(tests)
		t.passed += len(tests)
	}
}

func run(args []string) *tally {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally: start go test:", err)
		os.Exit(1)
	}
	t := &tally{failures: map[string][]string{}, output: map[string]*strings.Builder{}}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		t.add(e)
	}
	err = cmd.Wait()
	if err != nil && t.failed == 0 {
		t.failed++ // a build failure or a crash outside of any test
		t.broken = true
		fmt.Println("go test:", err)
	}
	return t
}

func (t *tally) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if e.Action == "build-output" {
			key = "build " + e.ImportPath
		}
		if t.output[key] == nil {
			t.output[key] = &strings.Builder{}
		}
		t.output[key].WriteString(e.Output)
	case "build-fail":
		t.failed++
		t.broken = true
		t.show("build "+e.ImportPath, "build failed: "+e.ImportPath)
	case "pass", "fail", "skip":
		t.end(e, key)
	}
}

func (t *tally) end(e event, key string) {
	if e.Test == "" {
		if e.Action == "fail" {
			t.crashed(e)
			t.show(key, "FAIL "+e.Package)
		} else if e.Action == "pass" {
			fmt.Printf("ok   %-60s %6.1fs\n", e.Package, e.Elapsed)
		}
		delete(t.output, key)
		return
	}
	if top, _, sub := strings.Cut(e.Test, "/"); sub {
		if e.Action == "fail" { // its parent fails with it, and is what counts
			t.show(key, "FAIL "+e.Package+" "+e.Test+" (part of "+top+")")
		}
		delete(t.output, key)
		return
	}
	switch e.Action {
	case "pass":
		t.passed++
	case "skip":
		t.skipped++
		t.show(key, "SKIP "+e.Package+" "+e.Test)
	case "fail":
		t.failed++
		t.failures[e.Package] = append(t.failures[e.Package], e.Test)
		t.show(key, "FAIL "+e.Package+" "+e.Test)
	}
	delete(t.output, key)
}

// crashed counts a package whose process has ended in the middle of tests, or that has failed without a test that has. The
// last words of those tests are shown.
func (t *tally) crashed(e event) {
	if e.FailedBuild != "" {
		return // it has been counted
	}
	found := len(t.failures[e.Package]) == 0
	for key := range t.output {
		if test, ok := strings.CutPrefix(key, e.Package+" "); ok && test != "" {
			t.show(key, "CRASHED "+key)
			found = true
		}
	}
	if found {
		t.failed++
		t.broken = true
	}
}

func (t *tally) show(key, title string) {
	fmt.Println(title)
	if b := t.output[key]; b != nil {
		fmt.Print(b.String())
	}
	delete(t.output, key)
}
