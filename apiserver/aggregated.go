package apiserver

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"clipper/apiserver/aggregation"
	"clipper/apiserver/served"
)

// aggregatedKind is the kind of the document that describes all groups at once. Its first version is not
// served any more, as upstream.
var aggregatedKind = apidiscoveryv2.SchemeGroupVersion.WithKind("APIGroupDiscoveryList")

// discoveryCache keeps the aggregated documents of what is offered at the moment.
type discoveryCache struct {
	mu         sync.Mutex
	table      *served.Table
	extensions *aggregation.Directory
	docs       map[string]*document // "api", "apis"
}

// A document is an aggregated discovery document with its hash, which clients revalidate by.
type document struct {
	list *apidiscoveryv2.APIGroupDiscoveryList
	etag string
	body map[format][]byte // encoded on demand
}

// wantsAggregated says whether the client takes aggregated discovery, and in which format. Whatever else it takes,
// before or behind, does not matter.
func wantsAggregated(r *http.Request) (media, bool) {
	m, ok := parseAccept(r.Header.Get("Accept"), ability{targets: aggregatedOnly})
	m.pretty = m.pretty || wantsPretty(r)
	return m, ok
}

func (q *request) aggregated(t *served.Table, prefix string, m media) {
	body, etag, err := q.s.discover.get(t, q.s.extensions(), prefix, m.format)
	if err != nil {
		q.fail(err)
		return
	}
	h := q.w.Header()
	h.Set("ETag", etag)
	h.Set("Vary", "Accept")
	h.Set("Cache-Control", "public")
	if q.r.Header.Get("If-None-Match") == etag {
		q.writeHeader(http.StatusNotModified)
		return
	}
	if m.format == formatJSON && m.pretty {
		body = indent(body)
	}
	contentType := fmt.Sprintf("%s;g=%s;v=%s;as=%s", m.format, aggregatedKind.Group, aggregatedKind.Version, aggregatedKind.Kind)
	out := q.begin(http.StatusOK, contentType, len(body))
	defer out.Close()
	_, _ = out.Write(body) // the client may be gone; there is nobody to tell
}

// get returns the encoded document and its hash.
func (c *discoveryCache) get(t *served.Table, d *aggregation.Directory, prefix string, f format) ([]byte, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.table != t || c.extensions != d {
		c.table, c.extensions, c.docs = t, d, map[string]*document{}
	}
	doc := c.docs[prefix]
	if doc == nil {
		doc = &document{list: discoveryList(t, d, prefix == "api"), body: map[format][]byte{}}
		text, err := json.Marshal(doc.list)
		if err != nil {
			return nil, "", err
		}
		doc.etag = strconv.Quote(fmt.Sprintf("%X", sha512.Sum512(text)))
		c.docs[prefix] = doc
	}
	if doc.body[f] == nil {
		body, err := doc.encode(f)
		if err != nil {
			return nil, "", err
		}
		doc.body[f] = body
	}
	return doc.body[f], doc.etag, nil
}

func (d *document) encode(f format) ([]byte, error) {
	body, err := encodeObject(wireKind(aggregatedKind), d.list, f)
	switch {
	case err != nil:
		return nil, err
	case f == formatYAML:
		return yaml.JSONToYAML(body)
	case f == formatJSON:
		return append(body, '\n'), nil
	}
	return body, nil
}

// discoveryList describes the core group alone, or all others, in one document.
func discoveryList(t *served.Table, d *aggregation.Directory, core bool) *apidiscoveryv2.APIGroupDiscoveryList {
	out := &apidiscoveryv2.APIGroupDiscoveryList{Items: []apidiscoveryv2.APIGroupDiscovery{}}
	for _, g := range offered(t, d) {
		if (g.name == "") != core {
			continue
		}
		group := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
		for _, v := range g.versions {
			group.Versions = append(group.Versions, v.discovery())
		}
		out.Items = append(out.Items, group)
	}
	return out
}

func (v *offeredVersion) discovery() apidiscoveryv2.APIVersionDiscovery {
	if v.there != nil {
		return v.there.Discovery
	}
	out := apidiscoveryv2.APIVersionDiscovery{Version: v.name, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
	for _, k := range v.here.Kinds {
		r := aggregation.FromLegacy(apiResources(k))[0]
		if k.Custom != nil { // these name their group and version also where it is the document's
			r.ResponseKind = inFull(r.ResponseKind, k)
			for i := range r.Subresources {
				r.Subresources[i].ResponseKind = inFull(r.Subresources[i].ResponseKind, k)
			}
		}
		out.Resources = append(out.Resources, r)
	}
	return out
}

func inFull(kind *metav1.GroupVersionKind, k *served.Kind) *metav1.GroupVersionKind {
	if kind.Version != "" {
		return kind
	}
	return &metav1.GroupVersionKind{Group: k.GVK.Group, Version: k.GVK.Version, Kind: kind.Kind}
}
