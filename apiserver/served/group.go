package served

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/catalogue"
)

// A group is all that is known of an API group. It never changes; tables that follow each other share it.
type group struct {
	members   []member
	served    Group // what clients see of it; without versions if that is nothing
	priority  int32
	kinds     map[versioned]*Kind
	resources map[api.Resource]*catalogue.Resource
}

// A member is a version of a resource, in the group that the version is in; nil is the storage version.
type member struct {
	*catalogue.Resource
	version *catalogue.Version
}

// versioned names a resource within its group.
type versioned struct{ version, resource string }

// membersOf sorts resources by groups. A version may be in another group than its resource.
func membersOf(resources []*catalogue.Resource) map[string][]member {
	out := map[string][]member{}
	for _, r := range resources {
		out[r.Group] = append(out[r.Group], member{r, nil})
		for i := range r.Also {
			group := r.Group
			if r.Also[i].Group != "" {
				group = r.Also[i].Group
			}
			out[group] = append(out[group], member{r, &r.Also[i]})
		}
	}
	return out
}

func newGroup(name string, members []member) (*group, error) {
	g := &group{
		members: members, served: Group{Name: name},
		kinds: make(map[versioned]*Kind, len(members)), resources: map[api.Resource]*catalogue.Resource{},
	}
	for _, m := range members {
		if m.version == nil {
			g.resources[m.Resource.Resource] = m.Resource
			if m.Custom != nil && m.Custom.Unserved {
				continue
			}
		}
		if err := g.add(newKind(name, m)); err != nil {
			return nil, err
		}
	}
	g.sort()
	g.priority = g.served.Priority()
	return g, nil
}

// newKind describes a version as the group of that name has it.
func newKind(group string, m member) *Kind {
	r, version, withheld := m.Resource, m.Resource.Resource.Version, m.Withheld
	if v := m.version; v != nil {
		version, withheld = v.Version, v.Withheld
		if v.Resource != nil {
			r = v.Resource
		}
	}
	k := &Kind{
		Resource: r,
		Version:  m.version,

		Deprecated: r.Deprecated,

		GVK:      schema.GroupVersionKind{Group: group, Version: version, Kind: r.Kind},
		GVR:      schema.GroupVersionResource{Group: group, Version: version, Resource: r.Name},
		Verbs:    r.Verbs,
		verbs:    allowsAll,
		withheld: withheld,
	}
	if v := m.version; v != nil && v.Deprecated != "" {
		k.Deprecated = v.Deprecated
	}
	if k.Verbs == nil {
		k.Verbs = allVerbs
	} else if r.Custom == nil { // those of custom ones are accepted even while discovery does not list them: the definition is going
		k.verbs = setOf(k.Verbs)
	}
	if len(r.Subresources) > 0 {
		k.subs = make(map[string]*catalogue.Subresource, len(r.Subresources))
	}
	for i := range r.Subresources {
		k.subs[r.Subresources[i].Name] = &r.Subresources[i]
	}
	return k
}

// allVerbs are those of a stored resource whose description names none.
var (
	allVerbs  = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	allowsAll = setOf(allVerbs)
)

func setOf(verbs []string) map[string]bool {
	out := make(map[string]bool, len(verbs))
	for _, v := range verbs {
		out[v] = true
	}
	return out
}

func (g *group) add(k *Kind) error {
	key := versioned{k.GVR.Version, k.GVR.Resource}
	if g.kinds[key] != nil {
		return fmt.Errorf("catalogue: %s is described twice", k.GVR)
	}
	g.kinds[key] = k
	if k.withheld {
		return nil
	}
	in := g.served.version(k.GVR.Version)
	in.Kinds = append(in.Kinds, k)
	return nil
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

// sort orders versions, and the kinds of each, as discovery lists them.
func (g *group) sort() {
	versions := g.served.Versions
	slices.SortFunc(versions, func(a, b Version) int {
		p, _ := PriorityOf(g.served.Name, a.Name)
		q, _ := PriorityOf(g.served.Name, b.Name)
		return CompareVersions(a.Name, p.Version, b.Name, q.Version)
	})
	for i := range versions {
		slices.SortFunc(versions[i].Kinds, func(a, b *Kind) int { return strings.Compare(a.Name, b.Name) })
	}
}
