package all

import (
	"slices"
	"testing"

	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
)

// TestNamesAgreeWithScheme checks that every kind is described once, under a kind that the scheme knows,
// with Go types that are the scheme's own.
func TestNamesAgreeWithScheme(t *testing.T) {
	seen := map[api.Resource]bool{}
	prefixes := map[string]string{}
	for _, r := range Resources() {
		if seen[r.Resource] {
			t.Errorf("%v is described twice", r.GVR())
		}
		seen[r.Resource] = true
		if other, ok := prefixes[r.Prefix]; ok && r.Prefix != "" {
			t.Errorf("%s and %s share the storage prefix %q", r.Name, other, r.Prefix)
		}
		prefixes[r.Prefix] = r.Name
		gvks, _, err := scheme.Scheme.ObjectKinds(r.New())
		if err != nil || !slices.Contains(gvks, r.GVK()) {
			t.Errorf("%v: New makes %v (%v)", r.GVK(), gvks, err)
		}
		stored := r.Prefix != ""
		if listed := r.Verbs == nil || slices.Contains(r.Verbs, "list"); listed != (r.NewList != nil) {
			t.Errorf("%s: list verb %v, NewList %v", r.Name, listed, r.NewList != nil)
		}
		if stored && (r.PrepareCreate == nil || r.PrepareUpdate == nil) {
			t.Errorf("%s: stored without a strategy", r.Name)
		}
		if (r.Columns == nil) != (r.Row == nil) {
			t.Errorf("%s: columns and rows go together", r.Name)
		}
	}
}

// TestShortNamesAreUnique: kubectl takes the first match, so a second one could never be reached.
func TestShortNamesAreUnique(t *testing.T) {
	owner := map[string]string{}
	for _, r := range Resources() {
		for _, s := range append([]string{r.Name, r.Singular}, r.ShortNames...) {
			if other, ok := owner[s]; ok && other != r.Name {
				t.Errorf("%s and %s both answer to %q", r.Name, other, s)
			}
			owner[s] = r.Name
		}
	}
}
