// Package served turns the catalogue's descriptions into the table that requests are routed by: which
// groups and versions there are, and which resource a path names. A table never changes; a server that
// learns of new kinds swaps the whole table.
package served

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/api/packed"
	"clipper/catalogue"
)

// allVerbs are those of a stored resource whose description names none.
var allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// A Kind is one served version of a resource.
type Kind struct {
	*catalogue.Resource
	GVK     schema.GroupVersionKind
	GVR     schema.GroupVersionResource
	Version *catalogue.Version // nil for the storage version
	Verbs   []string
	verbs   map[string]bool
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

// ToHub defaults a freshly decoded object of the served version and converts it to the storage version.
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
	if err == nil && k.Default != nil {
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
	kinds     map[schema.GroupVersionResource]*Kind
	resources map[api.Resource]*catalogue.Resource
}

// NewTable builds the table of the given resources. Two of the same name in one group version are an error.
func NewTable(resources []*catalogue.Resource) (*Table, error) {
	t := &Table{
		Resources: resources,
		kinds:     map[schema.GroupVersionResource]*Kind{},
		resources: map[api.Resource]*catalogue.Resource{},
	}
	for _, r := range resources {
		if r.Custom == nil || !r.Custom.Unserved {
			if err := t.add(r, nil); err != nil {
				return nil, err
			}
		}
		for i := range r.Also {
			if err := t.add(r, &r.Also[i]); err != nil {
				return nil, err
			}
		}
		t.resources[r.Resource] = r
	}
	t.sort()
	return t, nil
}

func (t *Table) add(r *catalogue.Resource, v *catalogue.Version) error {
	group, version := r.Group, r.Resource.Version
	if v != nil {
		version = v.Version
		if v.Group != "" {
			group = v.Group
		}
	}
	if v != nil && v.Resource != nil {
		r = v.Resource
	}
	k := &Kind{
		Resource: r,
		Version:  v,
		GVK:      schema.GroupVersionKind{Group: group, Version: version, Kind: r.Kind},
		GVR:      schema.GroupVersionResource{Group: group, Version: version, Resource: r.Name},
		Verbs:    r.Verbs,
		verbs:    map[string]bool{},
		subs:     map[string]*catalogue.Subresource{},
	}
	if k.Verbs == nil {
		k.Verbs = allVerbs
	}
	allowed := k.Verbs
	if r.Custom != nil {
		allowed = allVerbs // also of those that discovery does not list while the definition is going
	}
	for _, verb := range allowed {
		k.verbs[verb] = true
	}
	for i := range r.Subresources {
		k.subs[r.Subresources[i].Name] = &r.Subresources[i]
	}
	if t.kinds[k.GVR] != nil {
		return fmt.Errorf("catalogue: %s is described twice", k.GVR)
	}
	t.kinds[k.GVR] = k
	if k.withheld = r.Withheld; v != nil {
		k.withheld = v.Withheld
	}
	if k.withheld {
		return nil
	}
	in := t.group(group).version(version)
	in.Kinds = append(in.Kinds, k)
	return nil
}

func (t *Table) group(name string) *Group {
	for i := range t.Groups {
		if t.Groups[i].Name == name {
			return &t.Groups[i]
		}
	}
	t.Groups = append(t.Groups, Group{Name: name})
	return &t.Groups[len(t.Groups)-1]
}

func (g *Group) version(name string) *Version {
	for i := range g.Versions {
		if g.Versions[i].Name == name {
			return &g.Versions[i]
		}
	}
	g.Versions = append(g.Versions, Version{Name: name})
	return &g.Versions[len(g.Versions)-1]
}

func (t *Table) sort() {
	for i := range t.Groups {
		g := &t.Groups[i]
		slices.SortFunc(g.Versions, func(a, b Version) int {
			p, _ := PriorityOf(g.Name, a.Name)
			q, _ := PriorityOf(g.Name, b.Name)
			return CompareVersions(a.Name, p.Version, b.Name, q.Version)
		})
		for j := range g.Versions {
			slices.SortFunc(g.Versions[j].Kinds, func(a, b *Kind) int { return strings.Compare(a.Name, b.Name) })
		}
	}
	slices.SortFunc(t.Groups, func(a, b Group) int {
		return CompareGroups(a.Name, a.Priority(), b.Name, b.Priority())
	})
}

// Storage returns the kind of r's storage version, or nil.
func (t *Table) Storage(r *catalogue.Resource) *Kind {
	return t.kinds[r.GVR()]
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
	return t.kinds[schema.GroupVersionResource{Group: group, Version: version, Resource: resource}]
}

// Resource returns the description of r, or nil.
func (t *Table) Resource(r api.Resource) *catalogue.Resource { return t.resources[r] }

// HasVersion says whether a group version is served.
func (t *Table) HasVersion(group, version string) bool {
	return t.Find(group, version) != nil
}

// Find returns a served version, or nil.
func (t *Table) Find(group, version string) *Version {
	for i := range t.Groups {
		if t.Groups[i].Name != group {
			continue
		}
		for j := range t.Groups[i].Versions {
			if t.Groups[i].Versions[j].Name == version {
				return &t.Groups[i].Versions[j]
			}
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
