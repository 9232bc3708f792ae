package sandboxcmd

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"clipper/sandbox"
)

func TestPrintList(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var b bytes.Buffer
	err := printList(&b, []sandbox.Summary{
		{Name: "default", Nodes: 3, Running: 2, Server: "https://127.0.0.1:1", Created: now.Add(-90 * time.Second)},
		{Name: "x"},
	}, now)
	const want = `NAME      NODES   RUNNING   SERVER                AGE
default   3       2         https://127.0.0.1:1   1m30s
x         0       0                               unknown
`
	if err != nil || b.String() != want {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestWrongArguments(t *testing.T) {
	t.Setenv(sandbox.DirEnv, t.TempDir())
	for args, want := range map[string]string{
		"create a b":                 "accepts at most 1 arg",
		"create --nodes 0":           "--nodes 0: must be at least 1",
		"create Bad_Name":            `sandbox name "Bad_Name"`,
		"exec":                       "say which command to run after --",
		"exec a b -- ls":             "say which command to run after --",
		"kubeconfig nope":            "there is none of that name",
		"kubeconfig --path --merge":  "none of the others can be",
		"delete --all x":             "not both",
		"image-load":                 "requires at least 1 arg",
		"create --timeout fortnight": "invalid argument",
	} {
		cmd := New()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(strings.Fields(args))
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", args, err, want)
		}
	}
}
