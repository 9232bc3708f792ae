// Command report holds what a package's tests came to beside what they are known to come to. It reads the events of
// test2json and exits with 1 if a test fails, passes or is skipped that is not known to, or one is missing.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	name := flag.String("package", "", "package, below test/integration")
	update := flag.Bool("update", false, "write what came out into the file")
	partial := flag.Bool("partial", false, "do not miss tests that did not run")
	flag.Parse()
	same, err := run(os.Stdin, os.Stdout, flag.Arg(0), *name, *update, *partial)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	if !same {
		os.Exit(1)
	}
}

// run compares the events of in with the results in file, and tells out.
func run(in io.Reader, out io.Writer, file, name string, update, partial bool) (same bool, err error) {
	results, err := readEvents(in)
	if err != nil {
		return false, err
	}
	known, err := readFile(file)
	if err != nil {
		return false, err
	}
	differences := compare(known[name], results, partial)
	counts := map[string]int{}
	for _, r := range results {
		counts[r.outcome]++
	}
	fmt.Fprintf(out, "%s: %d passed, %d failed, %d skipped, %d not as expected\n", name, counts[pass], counts[fail], counts[skip], len(differences))
	for _, d := range differences {
		fmt.Fprintf(out, "  %s\n", d)
	}
	if !update {
		return len(differences) == 0, nil
	}
	known[name] = merge(known[name], results, partial)
	return true, writeFile(file, known)
}

// An event is one of test2json.
type event struct{ Action, Test, Output string }

// readEvents returns the results of tests at the top, and of those below that did not pass.
func readEvents(in io.Reader) (results, error) {
	found, lines := results{}, bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	said := map[string]string{} // what a test printed last
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("line of test2json: %w", err)
		}
		switch e.Action {
		case "run":
			found[e.Test] = result{outcome: fail, reason: "did not end"}
		case "output":
			if text := message(e.Output); text != "" {
				said[e.Test] = text
			}
		case pass, fail, skip:
			if e.Test != "" {
				found[e.Test] = result{e.Action, said[e.Test]}
			}
		}
	}
	return found.tidy(), lines.Err()
}
