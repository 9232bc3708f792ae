package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Outcomes of a test, in the words of test2json.
const (
	pass = "pass"
	fail = "fail"
	skip = "skip"
)

// A result is what one test came to and, unless it passed, why.
type result struct{ outcome, reason string }

// results are those of a package, by test.
type results map[string]result

// tidy leaves out tests below others that passed, and those that fail only because tests below them do.
func (r results) tidy() results {
	below := map[string]bool{}
	for name, res := range r {
		for i := strings.LastIndexByte(name, '/'); res.outcome == fail && i > 0; i = strings.LastIndexByte(name[:i], '/') {
			below[name[:i]] = true
		}
	}
	maps.DeleteFunc(r, func(name string, res result) bool {
		return res.outcome == pass && strings.Contains(name, "/") || res.outcome == fail && below[name]
	})
	return r
}

// message is a line that a test prints with t.Log, t.Skip or t.Error: "file.go:123: text". What libraries log goes there
// as well; it is no reason. Reasons are kept short.
func message(output string) string {
	m := printed.FindStringSubmatch(output)
	if m == nil || logged.MatchString(m[1]) {
		return ""
	}
	if len(m[1]) > longest {
		return m[1][:longest]
	}
	return m[1]
}

var (
	printed = regexp.MustCompile(`^\s+[a-z0-9_]+\.go:\d+: (.*\S)`)
	logged  = regexp.MustCompile(`^[IWEF]\d{4} `) // klog's head
)

// longest is the length of a reason.
const longest = 160

// compare says which results are not those that are known.
func compare(known, found results, partial bool) []string {
	var differences []string
	for name, r := range found {
		if k, ok := known[name]; !ok || k.outcome != r.outcome {
			expected := k.outcome
			if !ok {
				expected = "nothing"
			}
			differences = append(differences, fmt.Sprintf("%s: %s, expected %s: %s", name, r.outcome, expected, r.reason))
		}
	}
	for name, k := range known {
		if _, ok := found[name]; !ok && !partial {
			differences = append(differences, fmt.Sprintf("%s: did not happen, expected %s", name, k.outcome))
		}
	}
	slices.Sort(differences)
	return differences
}

// merge returns what was found, with the reasons that somebody wrote down.
func merge(known, found results, partial bool) results {
	out := results{}
	if partial {
		maps.Copy(out, known)
	}
	for name, r := range found {
		if k := known[name]; k.outcome == r.outcome && k.reason != "" {
			r.reason = k.reason
		}
		if r.outcome == pass {
			r.reason = ""
		}
		out[name] = r
	}
	return out
}

// readFile reads results by package: lines of outcome, package, test and reason.
func readFile(file string) (map[string]results, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return parse(string(text))
}

func parse(text string) (map[string]results, error) {
	all, lines := map[string]results{}, bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line, reason, _ := strings.Cut(lines.Text(), " # ")
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		if len(fields) != 3 || !slices.Contains([]string{pass, fail, skip}, fields[0]) {
			return nil, fmt.Errorf("line %d: %q is not: pass, fail or skip, a package, a test and, after #, the reason", n, line)
		}
		if all[fields[1]] == nil {
			all[fields[1]] = results{}
		}
		all[fields[1]][fields[2]] = result{fields[0], reason}
	}
	return all, lines.Err()
}

func writeFile(file string, all map[string]results) error {
	var b strings.Builder
	b.WriteString("# What upstream's integration tests come to: outcome, package, test and, unless it passes, the reason.\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b.WriteByte('\n')
		tests := slices.SortedFunc(maps.Keys(all[name]), func(a, c string) int {
			return cmp.Or(cmp.Compare(rank[all[name][a].outcome], rank[all[name][c].outcome]), strings.Compare(a, c))
		})
		for _, test := range tests {
			r := all[name][test]
			fmt.Fprintf(&b, "%s %s %s", r.outcome, name, test)
			if r.reason != "" {
				b.WriteString(" # " + r.reason)
			}
			b.WriteByte('\n')
		}
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// rank puts what needs a look first.
var rank = map[string]int{fail: 0, skip: 1, pass: 2}
