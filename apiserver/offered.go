package apiserver

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/features"

	"clipper/apiserver/aggregation"
	"clipper/apiserver/feature"
	"clipper/apiserver/served"
	"clipper/catalogue"
)

// An offeredGroup is an API group as discovery shows it: what is served here, and by extension servers.
type offeredGroup struct {
	name     string
	priority int32
	versions []offeredVersion // preferred first
}

// An offeredVersion is served here or elsewhere: one of the two pointers is set.
type offeredVersion struct {
	name     string
	priority int32
	here     *served.Version
	there    *aggregation.Extension
}

// offered lists all groups, preferred first. What an extension server serves hides what is served here.
func offered(t *served.Table, d *aggregation.Directory) []offeredGroup {
	groups := make([]offeredGroup, 0, len(t.Groups))
	at := map[string]int{}
	add := func(group string, priority int32, v offeredVersion) {
		i, known := at[group]
		if !known {
			i = len(groups)
			at[group] = i
			groups = append(groups, offeredGroup{name: group})
		}
		groups[i].priority = max(groups[i].priority, priority)
		groups[i].versions = append(groups[i].versions, v)
	}
	for i := range t.Groups {
		g := &t.Groups[i]
		for j := range g.Versions {
			v := &g.Versions[j]
			if d.Find(g.Name, v.Name) == nil {
				p, _ := served.PriorityOf(g.Name, v.Name)
				add(g.Name, p.Group, offeredVersion{name: v.Name, priority: p.Version, here: v})
			}
		}
	}
	extensions := d.List()
	if len(extensions) == 0 {
		return groups // the table's order is right
	}
	for _, e := range extensions {
		add(e.Group, e.Priority.Group, offeredVersion{name: e.Version, priority: e.Priority.Version, there: e})
	}
	for i := range groups {
		slices.SortFunc(groups[i].versions, func(a, b offeredVersion) int {
			return served.CompareVersions(a.name, a.priority, b.name, b.priority)
		})
	}
	slices.SortFunc(groups, func(a, b offeredGroup) int { return served.CompareGroups(a.name, a.priority, b.name, b.priority) })
	return groups
}

// apiGroup is a group in the older form of discovery.
func (g *offeredGroup) apiGroup() metav1.APIGroup {
	out := metav1.APIGroup{Name: g.name}
	for _, v := range g.versions {
		gv := schema.GroupVersion{Group: g.name, Version: v.name}
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: v.name})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

// apiResources lists a resource and its subresources.
func apiResources(k *served.Kind) []metav1.APIResource {
	out := []metav1.APIResource{{
		Name:               k.Name,
		SingularName:       k.Singular,
		Namespaced:         k.Namespaced,
		Kind:               k.Kind,
		Verbs:              k.Verbs,
		ShortNames:         k.ShortNames,
		Categories:         k.Categories,
		StorageVersionHash: storageHash(k),
	}}
	for _, s := range subresources(k) {
		r := metav1.APIResource{Name: k.Name + "/" + s.name, Namespaced: k.Namespaced, Kind: s.kind.Kind, Verbs: s.verbs}
		if gv := s.kind.GroupVersion(); gv != k.GVK.GroupVersion() {
			r.Group, r.Version = gv.Group, gv.Version
		}
		out = append(out, r)
	}
	return out
}

// storageHash tells clients when the stored form of a resource has changed. It is upstream's, so that the
// versions of a storage taken over are recognised.
func storageHash(k *served.Kind) string {
	if k.Prefix == "" || k.Custom != nil && k.Custom.Unserved || !feature.Enabled(features.StorageVersionHash) {
		return ""
	}
	sum := sha256.Sum256([]byte(k.Group + "/" + k.Resource.Version + "/" + k.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

// subresourceKind is the kind of a subresource's bodies: what it does not say of itself is as the resource has it.
func subresourceKind(k *served.Kind, s *catalogue.Subresource) schema.GroupVersionKind {
	gvk := schema.GroupVersionKind{Group: s.Group, Version: s.Version, Kind: s.Kind}
	if gvk.Version == "" {
		gvk.Group, gvk.Version = k.GVK.Group, k.GVK.Version
	}
	if gvk.Kind == "" {
		gvk.Kind = k.Kind
	}
	return gvk
}

type subresource struct {
	name  string
	kind  schema.GroupVersionKind
	verbs []string
}

// subresources lists what is below an object: by name, but for custom resources the status first.
func subresources(k *served.Kind) []subresource {
	var out []subresource
	listed := map[string]bool{}
	for _, s := range k.Subresources {
		out = append(out, subresource{s.Name, subresourceKind(k, &s), s.Verbs})
		listed[s.Name] = true
	}
	if k.Status != nil && !listed["status"] {
		out = append(out, subresource{"status", k.GVK, []string{"get", "patch", "update"}})
	}
	if k.Scale != nil && !listed["scale"] {
		out = append(out, subresource{"scale", scaleKind, []string{"get", "patch", "update"}})
	}
	if k.Custom == nil {
		slices.SortFunc(out, func(a, b subresource) int { return strings.Compare(a.name, b.name) })
	}
	return out
}
