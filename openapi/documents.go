package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"github.com/munnerz/goautoneg"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/catalogue"
)

// Media types of the documents. Clients ask for the protobuf forms by a name with an at sign, which no
// Content-Type may have; upstream answers with a dot instead, and accepts both.
const (
	mediaJSON    = "application/json"
	mediaProtoV2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	mediaProtoV3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// asked maps what an Accept header may name to what is answered.
var asked = map[string]string{
	"application/com.github.proto-openapi.spec.v2@v1.0+protobuf":           mediaProtoV2,
	"application/com.github.googleapis.gnostic.OpenAPIv2@68f4ded+protobuf": mediaProtoV2, // clients before 1.27
	mediaProtoV2: mediaProtoV2,
	"application/com.github.proto-openapi.spec.v3@v1.0+protobuf": mediaProtoV3,
	mediaProtoV3: mediaProtoV3,
}

// Documents serves /openapi/v2 and /openapi/v3 for a set of resources. Each document is made when first
// asked for and kept compressed.
type Documents struct {
	resources  func() []*catalogue.Resource
	extensions func() []Extension

	mu   sync.Mutex
	docs map[string]*document // by path and media type
}

// A document is one rendered form of one specification.
type document struct {
	once   sync.Once
	packed []byte
	etag   string
	err    error
}

// New returns the documents of the resources that the function returns; Invalidate says when that changed.
func New(resources func() []*catalogue.Resource) *Documents {
	return &Documents{resources: resources, extensions: func() []Extension { return nil }, docs: map[string]*document{}}
}

// Invalidate forgets all documents; the next request makes them anew.
func (d *Documents) Invalidate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.docs = map[string]*document{}
}

// ServeHTTP answers GET below /openapi/.
func (d *Documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case path == "/openapi/v2":
		media, ok := negotiate(r, mediaProtoV2)
		d.serve(w, r, path, media, ok, d.v2)
	case path == "/openapi/v3":
		d.serve(w, r, path, mediaJSON, true, d.v3Index)
	case strings.HasPrefix(path, "/openapi/v3/"):
		d.serveV3(w, r, strings.TrimPrefix(path, "/openapi/v3/"))
	default:
		http.NotFound(w, r)
	}
}

// serveV3 answers with the document of one group and version. An address with another document's hash leads
// to the present one; with the right hash it may be kept for good.
func (d *Documents) serveV3(w http.ResponseWriter, r *http.Request, gv string) {
	hash, ok := d.hash(gv)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if asked := r.URL.Query().Get("hash"); asked != "" {
		if asked != hash {
			http.Redirect(w, r, addressV3(gv, hash), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	media, ok := negotiate(r, mediaProtoV3)
	d.serve(w, r, "/openapi/v3/"+gv, media, ok, func() ([]byte, error) { return d.v3(gv) })
}

// negotiate returns the media type to answer with: JSON, or proto where the client prefers it.
func negotiate(r *http.Request, proto string) (media string, ok bool) {
	accept := r.Header.Get("Accept")
	if accept == "" {
		return mediaJSON, true
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		full := clause.Type + "/" + clause.SubType
		if asked[full] == proto {
			return proto, true
		}
		if full == mediaJSON || full == "*/*" || full == "application/*" {
			return mediaJSON, true
		}
	}
	return "", false
}

func (d *Documents) serve(w http.ResponseWriter, r *http.Request, path, media string, ok bool, make func() ([]byte, error)) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	doc := d.document(path + " " + media)
	doc.once.Do(func() { doc.make(media, make) })
	if doc.err != nil {
		http.Error(w, fmt.Sprintf("make %s: %v", path, doc.err), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Etag", doc.etag)
	h.Set("Vary", "Accept, Accept-Encoding")
	if r.Header.Get("If-None-Match") == doc.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		w.Write(doc.packed) // an error here is the client's going away
		return
	}
	if plain, err := gzip.NewReader(bytes.NewReader(doc.packed)); err == nil {
		io.Copy(w, plain)
	}
}

func (d *Documents) document(key string) *document {
	d.mu.Lock()
	defer d.mu.Unlock()
	doc := d.docs[key]
	if doc == nil {
		doc = &document{}
		d.docs[key] = doc
	}
	return doc
}

func (doc *document) make(media string, make func() ([]byte, error)) {
	data, err := make()
	if err == nil && media != mediaJSON {
		data, err = toProto(media, data)
	}
	if err != nil {
		doc.err = err
		return
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(data) // into memory: cannot fail
	z.Close()
	doc.packed, doc.etag = packed.Bytes(), fmt.Sprintf("%q", fmt.Sprintf("%X", sha512.Sum512(data)))
}

// toProto converts a document from JSON to the protobuf form that media names.
func toProto(media string, data []byte) ([]byte, error) {
	if media == mediaProtoV3 {
		doc, err := openapiv3.ParseDocument(data)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(doc)
	}
	doc, err := openapiv2.ParseDocument(data)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(doc)
}

// groupVersions returns the served ones in the form of v3 paths ("api/v1", "apis/apps/v1") with their
// resources.
func (d *Documents) groupVersions() map[string][]*catalogue.Resource {
	out := map[string][]*catalogue.Resource{}
	for _, r := range d.resources() {
		add := func(r *catalogue.Resource, group, version string) {
			gv := strings.TrimPrefix(basePath(group, version), "/")
			out[gv] = append(out[gv], r)
		}
		if r.Served() {
			add(r, r.Group, r.Version)
		}
		for _, v := range r.Also {
			if v.Withheld {
				continue
			}
			group, as := r.Group, r
			if v.Group != "" {
				group = v.Group
			}
			if v.Resource != nil {
				as = v.Resource
			}
			add(as, group, v.Version)
		}
	}
	return out
}

// parseGroupVersion undoes what groupVersions' keys are: "api/v1" or "apis/GROUP/VERSION".
func parseGroupVersion(gv string) (group, version string) {
	if rest, ok := strings.CutPrefix(gv, "apis/"); ok {
		group, version, _ = strings.Cut(rest, "/")
		return group, version
	}
	return "", strings.TrimPrefix(gv, "api/")
}

// v3Index renders /openapi/v3: where the document of each group and version is. The hash in the address
// lets clients keep a document for good; it covers all that the documents are made from.
func (d *Documents) v3Index() ([]byte, error) {
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	for gv, resources := range d.groupVersions() {
		paths[gv] = entry{addressV3(gv, hashOf(resources))}
	}
	for path := range aside() {
		paths[path] = entry{addressV3(path, hashOf(nil))}
	}
	for _, path := range d.groups() {
		paths[path] = entry{addressV3(path, hashOf(nil))}
	}
	for _, e := range d.extensions() {
		if delete(paths, e.Path); e.V3 != "" {
			paths[e.Path] = entry{e.V3}
		}
	}
	return json.Marshal(map[string]any{"paths": paths})
}

// hash is that of a document of version 3, if there is one.
func (d *Documents) hash(path string) (string, bool) {
	if resources, ok := d.groupVersions()[path]; ok {
		return hashOf(resources), true
	}
	_, ok := d.lone(path)
	return hashOf(nil), ok
}

// ownSum covers the schemas of the server's own kinds.
var ownSum = sync.OnceValue(func() [sha512.Size]byte { return sha512.Sum512(packedV3) })

// hashOf covers all that a group version's document is made from.
func hashOf(resources []*catalogue.Resource) string {
	sum, own := sha512.New(), ownSum()
	sum.Write(own[:])
	for _, r := range resources {
		fmt.Fprintf(sum, "%v %v %v %v %v\n", r.Resource, r.Verbs, len(r.Subresources), r.Status != nil, r.Scale != nil)
		if r.Custom != nil {
			fmt.Fprintln(sum, r.Custom.ID)
		}
	}
	return fmt.Sprintf("%X", sum.Sum(nil))
}

func addressV3(gv, hash string) string { return "/openapi/v3/" + gv + "?hash=" + hash }

// v3 renders the document of one group and version.
func (d *Documents) v3(gv string) ([]byte, error) {
	var all schemas
	if err := unpack(packedV3, &all); err != nil {
		return nil, err
	}
	all[patchModel] = json.RawMessage(`{"description":"Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.","type":"object"}`)
	models, err := kindModels()
	if err != nil {
		return nil, err
	}
	var of schema.GroupVersion
	of.Group, of.Version = parseGroupVersion(gv)
	wanted := func(gv schema.GroupVersion) bool { return gv == of }
	models = addCustom(d.resources(), wanted, models, all, catalogue.OpenAPI3)
	paths := map[string]pathItem{}
	var roots []string
	add := func(o operation) {
		addPath(paths, o, o.v3())
		roots = append(roots, o.body, o.response)
	}
	if o, ok := d.lone(gv); ok {
		add(o)
	} else {
		d.eachOperation(gv, models, add)
	}
	for _, item := range paths {
		lift(item)
	}
	used := all.closure(roots)
	if err := used.narrow(parseGroupVersion(gv)); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"openapi": "3.0.0", "info": info(), "paths": paths,
		"components": components(used),
	})
}

// components are those of a document: where it has no schemas, it does not say so.
func components(used schemas) map[string]any {
	out := map[string]any{"securitySchemes": bearer()}
	if len(used) > 0 {
		out["schemas"] = used
	}
	return out
}

// eachOperation calls fn for all that can be done in a group version. Custom ones are found in other ways.
func (d *Documents) eachOperation(gv string, models map[string]string, fn func(operation)) {
	group, version := parseGroupVersion(gv)
	resources := d.groupVersions()[gv]
	if resources[0].Custom == nil {
		fn(resourcesOperation(group, version))
	}
	for _, r := range resources {
		for _, o := range operations(r, group, version, models) {
			fn(o)
		}
	}
}

// v2 renders the one document of OpenAPI v2.
func (d *Documents) v2() ([]byte, error) {
	var all schemas
	if err := unpack(packedV2, &all); err != nil {
		return nil, err
	}
	all[patchModel] = json.RawMessage(`{"description":"Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.","type":"object"}`)
	models, err := kindModels()
	if err != nil {
		return nil, err
	}
	models = addCustom(d.resources(), everything, models, all, catalogue.OpenAPI2)
	paths := map[string]pathItem{}
	var roots []string
	add := func(o operation) {
		addPath(paths, o, o.v2())
		roots = append(roots, o.body, o.response)
	}
	for gv := range d.groupVersions() {
		d.eachOperation(gv, models, add)
	}
	for _, path := range d.groups() {
		add(groupOperation(path))
	}
	for _, o := range aside() {
		add(o)
	}
	for _, item := range paths {
		lift(item)
	}
	shared, err := share(paths)
	if err != nil {
		return nil, err
	}
	sort.Strings(roots)
	doc, err := json.Marshal(map[string]any{
		"swagger": "2.0", "info": info(), "paths": paths, "definitions": all.closure(roots), "parameters": shared,
		"securityDefinitions": bearer(), "security": []map[string][]string{{"BearerToken": {}}},
	})
	if err != nil {
		return nil, err
	}
	return mergeV2(doc, d.extensions())
}

func addPath(paths map[string]pathItem, o operation, rendered map[string]any) {
	if paths[o.path] == nil {
		paths[o.path] = pathItem{}
	}
	paths[o.path][o.method] = rendered
}

// bearer is how clients prove who they are.
func bearer() map[string]any {
	return map[string]any{"BearerToken": map[string]string{
		"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
	}}
}

func info() map[string]string { return map[string]string{"title": "Kubernetes", "version": "v1.36.3"} }
