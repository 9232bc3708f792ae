package register

import "testing"

func TestStep(t *testing.T) {
	write := func(expect, state string) Call { return Call{Key: "k", Write: true, Expect: expect, State: state} }
	for name, c := range map[string]struct {
		have string
		call Call
		out  Answer
		ok   bool
		next string
	}{
		"read":                    {"a", Call{Key: "k"}, Answer{State: "a"}, true, "a"},
		"stale read":              {"a", Call{Key: "k"}, Answer{State: "b"}, false, "a"},
		"write":                   {"a", write("a", "b"), Answer{}, true, "b"},
		"delete":                  {"a", write("a", ""), Answer{}, true, ""},
		"lost write":              {"x", write("a", "b"), Answer{}, false, "x"},
		"refused":                 {"x", write("a", "b"), Answer{Refused: true, State: "x"}, true, "x"},
		"refused, other state":    {"x", write("a", "b"), Answer{Refused: true, State: "y"}, false, "x"},
		"refused, state not told": {"x", write("a", "b"), Answer{Refused: true, Blind: true}, true, "x"},
		"refused without a cause": {"a", write("a", "b"), Answer{Refused: true, State: "a"}, false, "a"},
		"delete of nothing":       {"", write("", ""), Answer{Refused: true}, true, ""},
		"unknown, happened":       {"a", write("a", "b"), Answer{Unknown: true}, true, "b"},
		"unknown, did not happen": {"x", write("a", "b"), Answer{Unknown: true}, true, "x"},
	} {
		if ok, next := step(c.have, c.call, c.out); ok != c.ok || next != c.next {
			t.Errorf("%s: got %v and %q, want %v and %q", name, ok, next, c.ok, c.next)
		}
	}
}
