package probe

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata with what the code does")

// TestMachine runs testdata/machine: a probe and its results on one line, the verdicts on the next.
func TestMachine(t *testing.T) {
	const path = "testdata/machine"
	f, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	sc := bufio.NewScanner(strings.NewReader(string(f)))
	for sc.Scan() {
		line := sc.Text()
		if strings.HasPrefix(line, "=>") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || line[0] == '#' {
			continue
		}
		fmt.Fprintln(&out, "=> "+runMachine(t, line))
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if out.String() != string(f) {
		t.Errorf("verdicts differ; got:\n%s", out.String())
	}
}

func runMachine(t *testing.T, line string) string {
	var kind, results string
	var success, failure int32
	if _, err := fmt.Sscanf(line, "%s success=%d failure=%d %s", &kind, &success, &failure, &results); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	m := NewMachine(Kind(kind), &corev1.Probe{SuccessThreshold: success, FailureThreshold: failure})
	names := map[Result]string{Unknown: "?", Success: "S", Failure: "F"}
	got := names[m.Verdict]
	for _, c := range results {
		changed := m.Step(map[rune]Result{'S': Success, 'F': Failure, '?': Unknown}[c])
		got += " " + names[m.Verdict]
		if changed {
			got += "!"
		}
	}
	return got
}
