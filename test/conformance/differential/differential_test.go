package differential

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"clipper/api"
	"clipper/test/mutation"
)

// The walks that the list of accepted differences is kept for.
const (
	usualRounds = 600
	usualSeed   = 1
)

var (
	rounds = flag.Int("rounds", usualRounds, "steps of each walk")
	seed   = flag.Int64("seed", usualSeed, "where the walks go")
)

// TestMain hushes what upstream logs about odd objects.
func TestMain(m *testing.M) {
	flag.Parse()
	klog.SetLogger(logr.Discard())
	allowPrivileged()
	os.Exit(m.Run())
}

// TestCatalogueBesideUpstream makes the same random writes to both, for every kind in every version. Any
// difference that is not accepted fails it; so does, in a whole run, an acceptance that nothing needed.
func TestCatalogueBesideUpstream(t *testing.T) {
	constants, err := mutation.ReadConstants()
	if err != nil {
		t.Fatal(err)
	}
	known, _ := kinds()
	used, walked := map[int]bool{}, 0
	for _, k := range known {
		t.Run(k.name, func(t *testing.T) {
			f := &findings{used: used}
			f.walk(t, k, constants, *rounds)
			f.report(t)
			walked++
		})
	}
	if walked != len(known) || *rounds != usualRounds || *seed != usualSeed || t.Failed() {
		return
	}
	for i, a := range accepted {
		if !used[i] {
			t.Errorf("accepted, but it no longer occurs: %s (%s of %q)", a.why, a.aspect, a.kinds)
		}
	}
}

// TestEveryKindIsWalked: a kind without a strategy of upstream's here has a reason.
func TestEveryKindIsWalked(t *testing.T) {
	_, unknown := kinds()
	for _, name := range unknown {
		if unwalked[name] == "" {
			t.Errorf("%s: add upstream's strategy to upstreams, and an example to test/mutation/examples", name)
		}
	}
	for name := range unwalked {
		if !slices.Contains(unknown, name) {
			t.Errorf("%s is walked, or gone: strike it off unwalked", name)
		}
	}
}

// TestDifferencesAreFound breaks a kind of the catalogue in one place at a time.
func TestDifferencesAreFound(t *testing.T) {
	constants, err := mutation.ReadConstants()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, kind, aspect string
		spoil              func(*kind)
	}{
		{"validation", "services", faults, func(k *kind) { k.resource.ValidateCreate = nil }},
		{"validation of updates", "configmaps", faults, func(k *kind) { k.resource.ValidateUpdate = nil }},
		{"defaults", "deployments.apps", object, func(k *kind) { k.resource.Default = nil }},
		{"preparation of status", "nodes", object, func(k *kind) { k.resource.Status.Prepare = func(_, _ api.Object) {} }},
		{"warnings", "services", warnings, func(k *kind) { k.resource.Warnings = nil }},
		{"columns", "leases.coordination.k8s.io", columns, func(k *kind) { k.resource.Columns = k.resource.Columns[:1] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &findings{used: map[int]bool{}}
			f.walk(t, spoiled(t, c.kind, c.spoil), constants, 60)
			for _, found := range f.list {
				if found.example.aspect == c.aspect {
					return
				}
			}
			t.Errorf("no difference in %s was found", c.aspect)
		})
	}
}

// spoiled returns a kind with a changed copy of its description.
func spoiled(t *testing.T, name string, spoil func(*kind)) *kind {
	t.Helper()
	known, _ := kinds()
	for _, k := range known {
		if k.name != name {
			continue
		}
		r := *k.resource
		if r.Status != nil {
			status := *r.Status
			r.Status = &status
		}
		k.resource = &r
		spoil(k)
		return k
	}
	t.Fatalf("there is no kind %s", name)
	return nil
}

// findings are the differences of a walk that nothing explains.
type findings struct {
	used map[int]bool // acceptances
	list []*finding
}

// A finding is a difference that was met count times, with other values.
type finding struct {
	pattern string
	count   int
	example difference // the one with the smallest object
}

func (f *findings) walk(t *testing.T, k *kind, constants *mutation.Constants, rounds int) {
	t.Helper()
	w := newWalk(k, *seed, constants, func(wr write, theirs outcome) { f.visit(k, wr, theirs) })
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	for range rounds {
		if err := w.step(); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *findings) visit(k *kind, w write, theirs outcome) {
	if len(compare(theirs, k.catalogued(w))) == 0 {
		return
	}
	// Some kinds write down the time, in seconds: what differs must differ again.
	for _, d := range compare(k.upstream(w), k.catalogued(w)) {
		d.kind, d.operation, d.write = k.name, w.operation(), w
		rest, used := explain(accepted, d)
		for _, i := range used {
			f.used[i] = true
		}
		if !rest.none() && !k.unsteady(w) {
			f.add(rest)
		}
	}
}

var values = regexp.MustCompile(`"(\\.|[^"\\])*"|\[[^\]]*\]|-?\d+`)

func (f *findings) add(d difference) {
	pattern := d.operation + d.aspect + values.ReplaceAllString(strings.Join(d.upstream, "\n")+"\n\n"+strings.Join(d.ours, "\n"), "_")
	for _, known := range f.list {
		if known.pattern == pattern {
			known.count++
			if len(d.write.object) < len(known.example.write.object) {
				known.example = d
			}
			return
		}
	}
	f.list = append(f.list, &finding{pattern: pattern, count: 1, example: d})
}

func (f *findings) report(t *testing.T) {
	for _, found := range f.list {
		t.Errorf("seed %d, %d times: %v", *seed, found.count, found.example)
	}
}
