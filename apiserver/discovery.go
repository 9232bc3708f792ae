package apiserver

import (
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/apiserver/served"
)

// discoveryCache keeps the aggregated documents of the table that is served.
type discoveryCache struct {
	mu    sync.Mutex
	table *served.Table
	docs  map[string]*document // "api", "apis"
}

// A document is an aggregated discovery document with its hash, which clients revalidate by.
type document struct {
	list *apidiscoveryv2.APIGroupDiscoveryList
	etag string
	body map[string][]byte // by format and version, encoded on demand
}

// discovery answers the paths above the resources.
func (q *request) discovery() {
	t := q.s.pipeline.Table()
	path := strings.TrimSuffix(q.info.Path, "/")
	in := &q.info
	switch {
	case path == "/api" || path == "/apis":
		if m, ok := aggregated(q.r); ok {
			q.aggregated(t, in.Prefix, m)
			return
		}
		q.groups(t, in.Prefix)
	case in.Prefix == "apis" && in.Version == "":
		q.group(t, in.Group)
	default:
		q.resources(t, in.Group, in.Version)
	}
}

// plain answers with a discovery object as clients before aggregated discovery read it.
func (q *request) plain(obj runtime.Object, kind string) {
	m, ok := negotiate(q.r, plainOnly)
	if !ok {
		q.fail(notAcceptable(mediaTypes[:]...))
		return
	}
	q.writeObject(http.StatusOK, m, obj, schema.GroupVersionKind{Version: "v1", Kind: kind})
}

func (q *request) groups(t *served.Table, prefix string) {
	if prefix == "api" {
		q.plain(&metav1.APIVersions{
			Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{
				{ClientCIDR: "0.0.0.0/0", ServerAddress: q.r.Host},
			},
		}, "APIVersions")
		return
	}
	list := &metav1.APIGroupList{Groups: []metav1.APIGroup{}}
	for i := range t.Groups {
		if t.Groups[i].Name != "" {
			list.Groups = append(list.Groups, apiGroup(&t.Groups[i]))
		}
	}
	q.plain(list, "APIGroupList")
}

func apiGroup(g *served.Group) metav1.APIGroup {
	out := metav1.APIGroup{Name: g.Name}
	for _, v := range g.Versions {
		gv := schema.GroupVersion{Group: g.Name, Version: v.Name}
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: v.Name})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

func (q *request) group(t *served.Table, name string) {
	for i := range t.Groups {
		if g := &t.Groups[i]; g.Name == name && name != "" {
			out := apiGroup(g)
			q.plain(&out, "APIGroup")
			return
		}
	}
	q.notFound()
}

func (q *request) resources(t *served.Table, group, version string) {
	v := t.Find(group, version)
	if v == nil {
		q.notFound()
		return
	}
	out := &metav1.APIResourceList{GroupVersion: schema.GroupVersion{Group: group, Version: version}.String(), APIResources: []metav1.APIResource{}}
	for _, k := range v.Kinds {
		out.APIResources = append(out.APIResources, apiResources(k)...)
	}
	q.plain(out, "APIResourceList")
}

// apiResources lists a resource and its subresources.
func apiResources(k *served.Kind) []metav1.APIResource {
	main := metav1.APIResource{
		Name:         k.Name,
		SingularName: k.Singular,
		Namespaced:   k.Namespaced,
		Kind:         k.Kind,
		Verbs:        k.Verbs,
		ShortNames:   k.ShortNames,
		Categories:   k.Categories,
	}
	if k.Prefix != "" {
		main.StorageVersionHash = storageHash(k)
	}
	out := []metav1.APIResource{main}
	for _, s := range subresources(k) {
		r := metav1.APIResource{Name: k.Name + "/" + s.name, Namespaced: k.Namespaced, Kind: s.kind.Kind, Verbs: s.verbs}
		if gv := s.kind.GroupVersion(); gv != k.GVK.GroupVersion() {
			r.Group, r.Version = gv.Group, gv.Version
		}
		out = append(out, r)
	}
	return out
}

// storageHash tells clients when the stored form of a resource has changed.
func storageHash(k *served.Kind) string {
	sum := sha512.Sum512([]byte(fmt.Sprintf("%s/%s/%s", k.Group, k.Resource.Version, k.Kind)))
	return encodeHash(sum[:8])
}

type subresource struct {
	name  string
	kind  schema.GroupVersionKind
	verbs []string
}

// subresources lists what is below an object, by name.
func subresources(k *served.Kind) []subresource {
	var out []subresource
	listed := map[string]bool{}
	for _, s := range k.Subresources {
		gvk := schema.GroupVersionKind{Group: s.Group, Version: s.Version, Kind: s.Kind}
		if gvk.Version == "" {
			gvk.Group, gvk.Version = k.GVK.Group, k.GVK.Version
		}
		if gvk.Kind == "" {
			gvk.Kind = k.Kind
		}
		out = append(out, subresource{s.Name, gvk, s.Verbs})
		listed[s.Name] = true
	}
	if k.Status != nil && !listed["status"] {
		out = append(out, subresource{"status", k.GVK, []string{"get", "patch", "update"}})
	}
	if k.Scale != nil && !listed["scale"] {
		out = append(out, subresource{"scale", scaleKind, []string{"get", "patch", "update"}})
	}
	sortSubresources(out)
	return out
}

// aggregated says whether the client reads aggregated discovery, and in which version and format.
func aggregated(r *http.Request) (media, bool) {
	for clause := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		kind, params, _ := strings.Cut(clause, ";")
		if !strings.Contains(params, "as=APIGroupDiscoveryList") || !strings.Contains(params, "g=apidiscovery.k8s.io") {
			if strings.TrimSpace(params) == "" && strings.TrimSpace(kind) != "" {
				return media{}, false // the client prefers the older form
			}
			continue
		}
		m := media{pretty: wantsPretty(r)}
		switch strings.TrimSpace(kind) {
		case typeJSON:
		case typeProtobuf:
			m.format = formatProtobuf
		default:
			continue
		}
		for param := range strings.SplitSeq(params, ";") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(param), "v="); ok {
				m.target.version = v
			}
		}
		if m.target.version == "v2" || m.target.version == "v2beta1" {
			return m, true
		}
	}
	return media{}, false
}

func (q *request) aggregated(t *served.Table, prefix string, m media) {
	body, etag, err := q.s.discover.get(t, prefix, m)
	if err != nil {
		q.fail(err)
		return
	}
	h := q.w.Header()
	h.Set("ETag", etag)
	h.Set("Vary", "Accept")
	h.Set("Cache-Control", "public")
	if strings.Contains(q.r.Header.Get("If-None-Match"), strings.Trim(etag, `"`)) {
		q.writeHeader(http.StatusNotModified)
		return
	}
	contentType := m.format.String() + ";g=apidiscovery.k8s.io;v=" + m.target.version + ";as=APIGroupDiscoveryList"
	out := q.begin(http.StatusOK, contentType, len(body))
	defer out.Close()
	_, _ = out.Write(body)
}

// get returns the encoded document and its hash.
func (c *discoveryCache) get(t *served.Table, prefix string, m media) ([]byte, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.table != t {
		c.table, c.docs = t, map[string]*document{}
	}
	d := c.docs[prefix]
	if d == nil {
		d = &document{list: discoveryList(t, prefix == "api"), body: map[string][]byte{}}
		text, err := json.Marshal(d.list)
		if err != nil {
			return nil, "", err
		}
		sum := sha512.Sum512(text)
		d.etag = `"` + strings.ToUpper(hex.EncodeToString(sum[:])) + `"`
		c.docs[prefix] = d
	}
	key := m.format.String() + m.target.version
	if d.body[key] == nil {
		body, err := encodeDiscovery(d.list, m)
		if err != nil {
			return nil, "", err
		}
		d.body[key] = body
	}
	return d.body[key], d.etag, nil
}
