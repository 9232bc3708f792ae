package openapi

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"github.com/klauspost/compress/gzip"
	"github.com/munnerz/goautoneg"
	"google.golang.org/protobuf/proto"

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

	mu      sync.Mutex
	number  int
	current *edition             // nil until somebody asks
	docs    map[string]*document // by path and media type
}

// A document is one rendered form of one specification.
type document struct {
	path   string
	hash   string // of what it is made from
	once   sync.Once
	packed []byte
	etag   string
	err    error
}

// New returns the documents of the resources that the function returns; Invalidate says when that changed.
func New(resources func() []*catalogue.Resource) *Documents {
	return &Documents{resources: resources, extensions: func() []Extension { return nil }, docs: map[string]*document{}}
}

// Invalidate says that other resources are served, or others describe theirs in another way. The next request sees to it.
func (d *Documents) Invalidate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current = nil
}

// edition returns what is served now. Documents that are made from something else are forgotten.
func (d *Documents) edition() *edition {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil {
		d.number++
		d.current = newEdition(d.number, d.resources(), d.extensions)
		for key, doc := range d.docs {
			if hash, ok := d.current.hash(doc.path); !ok || hash != doc.hash {
				delete(d.docs, key)
			}
		}
	}
	return d.current
}

// ServeHTTP answers GET below /openapi/.
func (d *Documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case path == v2Path:
		media, ok := negotiate(r, mediaProtoV2)
		e := d.edition()
		d.serve(w, r, e, path, media, ok, e.v2)
	case path == indexPath:
		e := d.edition()
		d.serve(w, r, e, path, mediaJSON, true, e.v3Index)
	case strings.HasPrefix(path, indexPath+"/"):
		d.serveV3(w, r, strings.TrimPrefix(path, indexPath+"/"))
	default:
		http.NotFound(w, r)
	}
}

// serveV3 answers with the document of one group and version. An address with another document's hash leads
// to the present one; with the right hash it may be kept for good.
func (d *Documents) serveV3(w http.ResponseWriter, r *http.Request, gv string) {
	e, path := d.edition(), indexPath+"/"+gv
	hash, ok := e.hash(path)
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
	d.serve(w, r, e, path, media, ok, func() ([]byte, error) { return e.v3(gv) })
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

func (d *Documents) serve(w http.ResponseWriter, r *http.Request, e *edition, path, media string, ok bool, make func() ([]byte, error)) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	doc := d.document(e, path, media)
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

// document returns the one of an edition, which is not the current one any more perhaps.
func (d *Documents) document(e *edition, path, media string) *document {
	hash, _ := e.hash(path)
	d.mu.Lock()
	defer d.mu.Unlock()
	key := path + " " + media
	doc := d.docs[key]
	if doc == nil || doc.hash != hash {
		doc = &document{path: path, hash: hash}
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
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // there is such a level
	z.Write(data)                                        // into memory: cannot fail
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
