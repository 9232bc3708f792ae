package main

import (
	"strings"
	"testing"
)

// TestCrash: a package whose process ends in the middle of a test has failed, whatever else has, and is not tried again.
func TestCrash(t *testing.T) {
	type events = []event
	start := func(test string) event {
		return event{Action: "output", Package: "p", Test: test, Output: "=== RUN " + test + "\n"}
	}
	end := func(action, test string) event { return event{Action: action, Package: "p", Test: test} }
	for name, tt := range map[string]struct {
		events                  events
		passed, failed, skipped int
		broken                  bool
	}{
		"all is well":            {events{start("A"), end("pass", "A"), end("skip", "B"), end("pass", "")}, 1, 0, 1, false},
		"a test fails":           {events{start("A"), end("fail", "A"), end("fail", "")}, 0, 1, 0, false},
		"a part of a test fails": {events{start("A"), start("A/x"), end("fail", "A/x"), end("fail", "A"), end("fail", "")}, 0, 1, 0, false},
		"a crash":                {events{start("A"), end("pass", "A"), start("B"), end("fail", "")}, 1, 1, 0, true},
		"a crash after a fault":  {events{start("A"), end("fail", "A"), start("B"), end("fail", "")}, 0, 2, 0, true},
		"a crash outside":        {events{end("fail", "")}, 0, 1, 0, true},
		"a build":                {events{{Action: "build-fail", ImportPath: "p"}, {Action: "fail", Package: "p", FailedBuild: "p"}}, 0, 1, 0, true},
	} {
		got := tally{failures: map[string][]string{}, output: map[string]*strings.Builder{}}
		for _, e := range tt.events {
			got.add(e)
		}
		if got.passed != tt.passed || got.failed != tt.failed || got.skipped != tt.skipped || got.broken != tt.broken {
			t.Errorf("%s: %d passed, %d failed, %d skipped, broken %t", name, got.passed, got.failed, got.skipped, got.broken)
		}
	}
}
