package apiserver

import (
	"encoding/base64"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apidiscoveryv2beta1 "k8s.io/api/apidiscovery/v2beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/apiserver/served"
)

func encodeHash(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func sortSubresources(s []subresource) {
	slices.SortFunc(s, func(a, b subresource) int { return strings.Compare(a.name, b.name) })
}

// discoveryList describes the core group alone, or all others, in one document.
func discoveryList(t *served.Table, core bool) *apidiscoveryv2.APIGroupDiscoveryList {
	out := &apidiscoveryv2.APIGroupDiscoveryList{Items: []apidiscoveryv2.APIGroupDiscovery{}}
	for _, g := range t.Groups {
		if (g.Name == "") != core {
			continue
		}
		group := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.Name}}
		for _, v := range g.Versions {
			version := apidiscoveryv2.APIVersionDiscovery{Version: v.Name, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
			for _, k := range v.Kinds {
				version.Resources = append(version.Resources, discoveryResource(k))
			}
			group.Versions = append(group.Versions, version)
		}
		out.Items = append(out.Items, group)
	}
	return out
}

func discoveryResource(k *served.Kind) apidiscoveryv2.APIResourceDiscovery {
	scope := apidiscoveryv2.ScopeCluster
	if k.Namespaced {
		scope = apidiscoveryv2.ScopeNamespace
	}
	r := apidiscoveryv2.APIResourceDiscovery{
		Resource:         k.Name,
		ResponseKind:     discoveryKind(k.GVK),
		Scope:            scope,
		SingularResource: k.Singular,
		Verbs:            k.Verbs,
		ShortNames:       k.ShortNames,
		Categories:       k.Categories,
	}
	for _, s := range subresources(k) {
		r.Subresources = append(r.Subresources, apidiscoveryv2.APISubresourceDiscovery{
			Subresource:  s.name,
			ResponseKind: discoveryKind(s.kind),
			Verbs:        s.verbs,
		})
	}
	return r
}

func discoveryKind(gvk schema.GroupVersionKind) *metav1.GroupVersionKind {
	return &metav1.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}
}

// encodeDiscovery writes the list in the wanted version; both versions have the same fields.
func encodeDiscovery(list *apidiscoveryv2.APIGroupDiscoveryList, m media) ([]byte, error) {
	gvk := schema.GroupVersionKind{Group: "apidiscovery.k8s.io", Version: m.target.version, Kind: "APIGroupDiscoveryList"}
	var obj runtime.Object = list
	if m.target.version == "v2beta1" {
		raw, err := list.Marshal()
		if err != nil {
			return nil, err
		}
		old := &apidiscoveryv2beta1.APIGroupDiscoveryList{}
		if err := old.Unmarshal(raw); err != nil {
			return nil, err
		}
		obj = old
	}
	body, err := encodeObject(wireKind(gvk), obj, m.format)
	if err == nil && m.format == formatJSON {
		body = append(body, '\n')
	}
	return body, err
}
