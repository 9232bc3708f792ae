package podworker

import (
	"os"
	"testing"
)

func TestLastWordsFromTheLog(t *testing.T) {
	path := t.TempDir() + "/0.log"
	if err := os.WriteFile(path, []byte("2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr P tw\n2026-01-01T00:00:00Z stderr F o\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := logTail(path, 2048); got != "one\ntwo\n" {
		t.Errorf("logTail = %q", got)
	}
	if got := logTail(path, 4); got != "two\n" {
		t.Errorf("logTail of 4 bytes = %q", got)
	}
}
