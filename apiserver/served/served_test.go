package served

import (
	"slices"
	"testing"

	"clipper/api"
	"clipper/catalogue"
)

func resource(group, version, name string, also ...catalogue.Version) *catalogue.Resource {
	return &catalogue.Resource{Resource: api.Resource{Group: group, Version: version, Name: name, Kind: name}, Also: also}
}

// groupsOf lists what clients see of t, in order.
func groupsOf(t *Table) []string {
	var out []string
	for _, g := range t.Groups {
		for _, v := range g.Versions {
			for _, k := range v.Kinds {
				out = append(out, g.Name+"/"+v.Name+"/"+k.Name)
			}
		}
	}
	return out
}

// TestWith: a table made from another is the same as one made anew, and shares what has not changed.
func TestWith(t *testing.T) {
	a, b := resource("a.example.com", "v1", "as", catalogue.Version{Version: "v2"}), resource("b.example.com", "v1beta1", "bs", catalogue.Version{Version: "v1", Group: "a.example.com"})
	more, hidden := resource("b.example.com", "v1beta1", "aas"), resource("c.example.com", "v1", "cs")
	hidden.Withheld = true
	unserved := resource("d.example.com", "v1", "ds")
	unserved.Custom = &catalogue.Custom{Unserved: true}
	table, err := NewTable([]*catalogue.Resource{a, b})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		what      string
		resources []*catalogue.Resource
		groups    []string
		shared    []string
	}{
		{"one more", []*catalogue.Resource{a, b, more},
			[]string{"a.example.com/v2/as", "a.example.com/v1/as", "a.example.com/v1/bs", "b.example.com/v1beta1/aas", "b.example.com/v1beta1/bs"}, []string{"a.example.com"}},
		{"what clients do not see", []*catalogue.Resource{a, b, more, hidden, unserved},
			[]string{"a.example.com/v2/as", "a.example.com/v1/as", "a.example.com/v1/bs", "b.example.com/v1beta1/aas", "b.example.com/v1beta1/bs"}, []string{"a.example.com", "b.example.com"}},
		{"another description", []*catalogue.Resource{resource("a.example.com", "v1", "as"), b, more},
			[]string{"a.example.com/v1/as", "a.example.com/v1/bs", "b.example.com/v1beta1/aas", "b.example.com/v1beta1/bs"}, []string{"b.example.com"}},
		{"less", []*catalogue.Resource{more}, []string{"b.example.com/v1beta1/aas"}, nil},
	} {
		next, err := table.With(step.resources)
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		anew, err := NewTable(step.resources)
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := groupsOf(next); !slices.Equal(got, step.groups) || !slices.Equal(groupsOf(anew), step.groups) {
			t.Errorf("%s: %v; anew %v", step.what, got, groupsOf(anew))
		}
		for _, r := range step.resources {
			if next.Resource(r.Resource) != r || (next.Storage(r) == nil) != (anew.Storage(r) == nil) {
				t.Errorf("%s: %v is described as %v", step.what, r.Resource, next.Resource(r.Resource))
			}
		}
		var shared []string
		for name, g := range next.groups {
			if table.groups[name] == g {
				shared = append(shared, name)
			}
		}
		if slices.Sort(shared); !slices.Equal(shared, step.shared) {
			t.Errorf("%s: shared %v", step.what, shared)
		}
		table = next
	}
	if k := table.Known("c.example.com", "v1", "cs"); k != nil {
		t.Error("what is gone is known")
	}
	if _, err := table.With([]*catalogue.Resource{more, more}); err == nil {
		t.Error("the same twice")
	}
}
