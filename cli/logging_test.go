package cli

import (
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
)

// TestMain lets the test's own program be one that only logs: how a process logs is settled once.
func TestMain(m *testing.M) {
	if flags, ok := os.LookupEnv("TEST_LOGGING"); ok {
		os.Exit(logSomething(strings.Fields(flags)))
	}
	os.Exit(m.Run())
}

// logSomething is a command with the flags of logging. Its exit code is 1 if these are wrong.
func logSomething(flags []string) int {
	l := newLogging()
	cmd := &cobra.Command{RunE: func(*cobra.Command, []string) error {
		if err := l.start(); err != nil {
			return err
		}
		slog.Info("ours", "pod", "default/a")
		slog.Debug("ours for developers")
		klog.V(2).InfoS("theirs", "node", "n")
		klog.V(3).InfoS("theirs in depth")
		return nil
	}}
	l.flags(cmd)
	l.short(cmd.Flags())
	cmd.SetArgs(flags)
	if cmd.Execute() != nil {
		return 1
	}
	return 0
}

func TestLogging(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for flags, want := range map[string]struct{ has, lacks string }{
		"":                                    {`level=INFO msg=ours pod=default/a`, "theirs"},
		"-v":                                  {`level=DEBUG msg="ours for developers"`, ""},
		"--v=2":                               {`"theirs" node="n"`, "developers"},
		"-v=3":                                {`"theirs in depth"`, "developers"},
		"--v=4":                               {`level=DEBUG msg="ours for developers"`, ""},
		"--vmodule=logging_test=2":            {`"theirs" node="n"`, "depth"},
		"--vmodule=other=9":                   {`msg=ours`, "theirs"},
		"--logging-format=json":               {`"msg":"ours","v":0,"pod":"default/a"}`, "theirs"},
		"--logging-format=json --v=2":         {`"msg":"theirs","v":2,"node":"n"}`, "depth"},
		"--logging-format=json -v":            {`"msg":"ours for developers","v":4}`, ""},
		"--logging-format=yaml":               {`format: Invalid value: "yaml": Unsupported log format`, "ours"},
		"--logging-format=json --vmodule=a=1": {"vmodule: Forbidden: Only supported for text log format", "ours"},
		"--vmodule=a":                         {`"a" does not have the pattern=N format`, "ours"},
		"--v=much":                            {`invalid argument "much" for "--v" flag`, "ours"},
	} {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(os.Environ(), "TEST_LOGGING="+flags)
		out, _ := cmd.CombinedOutput() // the code says no more than the words
		if text := string(out); !strings.Contains(text, want.has) || want.lacks != "" && strings.Contains(text, want.lacks) {
			t.Errorf("%s: %s, want %q and not %q", flags, text, want.has, want.lacks)
		}
		if !strings.Contains(flags, "json") || strings.Contains(flags, "vmodule") {
			continue
		}
		for line := range strings.Lines(string(out)) {
			var entry struct {
				TS     float64
				Caller string
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.TS < 1e12 || !strings.HasPrefix(entry.Caller, "cli/logging_test.go:") {
				t.Errorf("%s: %q: %+v %v", flags, line, entry, err)
			}
		}
	}
}
