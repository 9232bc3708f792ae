package differential

import (
	"fmt"
	"slices"
	"strings"
)

// A difference is one aspect in which two outcomes of a write are not the same.
type difference struct {
	kind      string
	operation string
	aspect    string
	upstream  []string // lines that upstream alone has; where only the order differs, those out of place
	ours      []string
	write     write
}

// The aspects of an outcome. A trailing inOrder says that only the order of the lines differs.
const (
	faults   = "faults"
	repeats  = "repeated faults"
	warnings = "warnings"
	object   = "object"
	columns  = "columns"
	cells    = "cells"
	inOrder  = " in order"
)

// compare returns in what theirs and ours differ. Where one has faults and the other none, nothing else
// is there to compare.
func compare(theirs, ours outcome) []difference {
	var list []difference
	add := func(aspect string, a, b []string) {
		if !slices.Equal(a, b) {
			list = append(list, differing(aspect, a, b))
		}
	}
	add(faults, theirs.faults, ours.faults)
	add(repeats, theirs.repeats, ours.repeats)
	if len(theirs.faults)+len(ours.faults) > 0 {
		return list
	}
	add(warnings, theirs.warnings, ours.warnings)
	add(object, theirs.object, ours.object)
	add(columns, theirs.columns, ours.columns)
	add(cells, theirs.cells, ours.cells)
	return list
}

func differing(aspect string, a, b []string) difference {
	d := difference{aspect: aspect, upstream: without(a, b), ours: without(b, a)}
	if len(d.upstream)+len(d.ours) > 0 {
		return d
	}
	d.aspect += inOrder
	for i := range a {
		if a[i] != b[i] {
			d.upstream, d.ours = append(d.upstream, a[i]), append(d.ours, b[i])
		}
	}
	return d
}

// tries are enough to see both orders of two elements in one of Go's maps, one of which is rare.
const tries = 200

// unsteady says whether upstream itself answers a write in one way now and in another then: it goes through
// maps in the order that they happen to have. The catalogue takes their keys in order.
func (k *kind) unsteady(w write) bool {
	first := k.upstream(w)
	for range tries {
		again := k.upstream(w)
		if !slices.Equal(first.faults, again.faults) || !slices.Equal(first.warnings, again.warnings) {
			return true
		}
	}
	return false
}

// without returns the lines of a that are not in b; each line of b stands for one of a.
func without(a, b []string) []string {
	count := map[string]int{}
	for _, line := range b {
		count[line]++
	}
	var rest []string
	for _, line := range a {
		if count[line] > 0 {
			count[line]--
			continue
		}
		rest = append(rest, line)
	}
	return rest
}

// shown are as many bytes of a line as a report shows.
const shown = 600

func (d difference) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s, %s:\n", d.operation, d.kind, d.aspect)
	for _, side := range []struct {
		name  string
		lines []string
	}{{"upstream", d.upstream}, {"ours", d.ours}} {
		for _, line := range side.lines {
			fmt.Fprintf(&b, "  %-8s  %.*s\n", side.name, shown, line)
		}
	}
	fmt.Fprintf(&b, "  object    %s\n", d.write.object)
	if d.write.old != nil {
		fmt.Fprintf(&b, "  old       %s\n", d.write.old)
	}
	return b.String()
}
