package environment

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNoFile: what a container has left in the file's place does not hold its pod.
func TestNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 1)
	go func() {
		_, err := openFile(path)
		refused <- err
	}()
	select {
	case err := <-refused:
		if err == nil {
			t.Error("a FIFO is taken for a file")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("waits for a writer")
	}
}

func TestEnvFileValue(t *testing.T) {
	for _, tc := range []struct{ file, want, fault string }{
		{"KEY='v'", "v", ""},
		{"# KEY='no'\n\n  KEY='v' # and so on\n", "v", ""},
		{"OTHER='KEY='\nKEY='v'", "v", ""},
		{"OTHER='a' b\nKEY='v'", "", "at line 1: unexpected content after closing quote"},
		{"OTHER='a\nKEY=b'\nKEY='c'", "c", ""},
		{"KEY='a\n\n b'", "a\n\n b", ""},
		{"KEY='$(X) \\n \"q\"'", `$(X) \n "q"`, ""},
		{"KEY= 'v'\nKEY='w'", "", ""},
		{"KEY='first'\nKEY='second'", "first", ""},
		{"OTHER='v'", "", ""},
		{"", "", ""},
		{"KEY", "", "at line 1: missing '='"},
		{"='v'", "", "at line 1: empty variable name"},
		{"\nKEY ='v'", "", "at line 2: whitespace before '=' is not allowed"},
		{"KEY=v", "", "at line 1: value must be enclosed in single quotes"},
		{"A='x'\nKEY='v\n", "", "starting at line 2: unclosed single quote"},
	} {
		got, err := envFileValue(strings.NewReader(tc.file), "KEY")
		if got != tc.want || (tc.fault == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tc.fault)) {
			t.Errorf("%q: got %q, %v; want %q, fault %q", tc.file, got, err, tc.want, tc.fault)
		}
	}
}

// FuzzEnvFileValue: a value that is found stands in the file, and what is written by the rules is read.
func FuzzEnvFileValue(f *testing.F) {
	f.Add("KEY='v'", "KEY")
	f.Add("# c\nA= 'x'\nB='1\n2'", "B")
	f.Fuzz(func(t *testing.T, file, key string) {
		v, err := envFileValue(strings.NewReader(file), key)
		if err == nil && !strings.Contains(strings.ReplaceAll(file, "\r", "")+"\n", strings.ReplaceAll(v, "\r", "")) {
			t.Errorf("%q in %q: %q", key, file, v)
		}
	})
}
