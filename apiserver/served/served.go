// Package served turns the catalogue's descriptions into the table that requests are routed by: which
// groups and versions there are, and which resource a path names. A table never changes; a server that
// learns of new kinds swaps the whole table.
package served

import (
	"slices"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/api/packed"
	"clipper/catalogue"
)

// A Kind is one served version of a resource.
type Kind struct {
	*catalogue.Resource
	GVK     schema.GroupVersionKind
	GVR     schema.GroupVersionResource
	Version *catalogue.Version // nil for the storage version
	Verbs   []string
	// Deprecated is what clients are warned of whatever they do with the kind in this version.
	Deprecated string

	verbs map[string]bool
	// withheld kinds are there for the server itself alone.
	withheld bool
	subs     map[string]*catalogue.Subresource
}

// Allows says whether the resource itself accepts verb.
func (k *Kind) Allows(verb string) bool { return k.verbs[verb] }

// Subresource returns the description of an extra subresource (not status or scale), or nil.
func (k *Kind) Subresource(name string) *catalogue.Subresource { return k.subs[name] }

// Empty returns a new object of the served version.
func (k *Kind) Empty() api.Object {
	if k.Version != nil {
		return k.Version.New()
	}
	return k.New()
}

// EmptyList returns a new list of the served version.
func (k *Kind) EmptyList() runtime.Object {
	if k.Version != nil {
		return k.Version.NewList()
	}
	return k.NewList()
}

// Prune drops what a custom resource's schema does not know, and returns the paths of it.
func (k *Kind) Prune(obj api.Object) (unknown []string, err error) {
	if k.Custom == nil {
		return nil, nil
	}
	return k.Custom.Prune(obj)
}

// ToHub defaults a freshly decoded object of the served version and converts it to the storage version. A version that has
// defaults of its own is not given those of the storage version.
func (k *Kind) ToHub(obj api.Object) (api.Object, error) {
	if k.Version == nil {
		if k.Default != nil {
			k.Default(obj)
		}
		return obj, nil
	}
	if k.Version.Default != nil {
		k.Version.Default(obj)
	}
	hub, err := k.Version.ToHub(obj)
	if err == nil && k.Default != nil && k.Version.Default == nil {
		k.Default(hub)
	}
	return hub, err
}

// FromHub converts a stored object to the served version, and opens it if it is packed. Where nothing is to be done it
// comes back itself.
func (k *Kind) FromHub(obj api.Object) (api.Object, error) {
	if k.Custom != nil {
		out, err := k.FromHubAll([]api.Object{obj})
		if err != nil {
			return nil, err
		}
		return out[0], nil
	}
	if k.Version != nil {
		return k.Version.FromHub(obj)
	}
	return packed.Open(obj), nil
}

// FromHubAll converts stored objects, in order. Custom resources may have been stored in any version.
func (k *Kind) FromHubAll(objects []api.Object) ([]api.Object, error) {
	if k.Custom != nil {
		return k.Custom.Read(objects)
	}
	out := make([]api.Object, len(objects))
	for i, o := range objects {
		var err error
		if out[i], err = k.FromHub(o); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// A Group is an API group with its versions, preferred first.
type Group struct {
	Name     string
	Versions []Version
}

// A Version is one version of a group with its kinds ordered by resource name.
type Version struct {
	Name  string
	Kinds []*Kind
}

// A Table is everything that is served at one time.
type Table struct {
	Groups    []Group // ordered as discovery lists them
	Resources []*catalogue.Resource
	groups    map[string]*group
}

// NewTable builds the table of the given resources. Two of the same name in one group version are an error.
func NewTable(resources []*catalogue.Resource) (*Table, error) { return (&Table{}).With(resources) }

// With builds a table of other resources. It shares the groups whose resources are the same, so that a kind more in a
// table of a thousand costs little.
func (t *Table) With(resources []*catalogue.Resource) (*Table, error) {
	out := &Table{Resources: resources, groups: make(map[string]*group, len(t.groups))}
	for name, members := range membersOf(resources) {
		g := t.groups[name]
		if g == nil || !slices.Equal(g.members, members) {
			var err error
			if g, err = newGroup(name, members); err != nil {
				return nil, err
			}
		}
		out.groups[name] = g
		if len(g.served.Versions) > 0 {
			out.Groups = append(out.Groups, g.served)
		}
	}
	slices.SortFunc(out.Groups, func(a, b Group) int {
		return CompareGroups(a.Name, out.groups[a.Name].priority, b.Name, out.groups[b.Name].priority)
	})
	return out, nil
}

// Storage returns the kind of r's storage version, or nil.
func (t *Table) Storage(r *catalogue.Resource) *Kind {
	return t.Known(r.Group, r.Resource.Version, r.Name)
}

// Lookup returns the kind that a path names, or nil.
func (t *Table) Lookup(group, version, resource string) *Kind {
	if k := t.Known(group, version, resource); k != nil && !k.withheld {
		return k
	}
	return nil
}

// Known is Lookup for the server itself: what is withheld from clients is known to it all the same.
func (t *Table) Known(group, version, resource string) *Kind {
	if g := t.groups[group]; g != nil {
		return g.kinds[versioned{version, resource}]
	}
	return nil
}

// Resource returns the description of r, or nil.
func (t *Table) Resource(r api.Resource) *catalogue.Resource {
	if g := t.groups[r.Group]; g != nil {
		return g.resources[r]
	}
	return nil
}

// HasVersion says whether a group version is served.
func (t *Table) HasVersion(group, version string) bool {
	return t.Find(group, version) != nil
}

// Find returns a served version, or nil.
func (t *Table) Find(group, version string) *Version {
	g := t.groups[group]
	if g == nil {
		return nil
	}
	for i := range g.served.Versions {
		if g.served.Versions[i].Name == version {
			return &g.served.Versions[i]
		}
	}
	return nil
}

// A Live holds the table that is served now.
type Live struct{ p atomic.Pointer[Table] }

// NewLive returns a Live that serves t.
func NewLive(t *Table) *Live {
	l := &Live{}
	l.p.Store(t)
	return l
}

// Table returns the table of this moment.
func (l *Live) Table() *Table { return l.p.Load() }

// Swap makes t the table of all later requests.
func (l *Live) Swap(t *Table) { l.p.Store(t) }
