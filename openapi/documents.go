package openapi

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/munnerz/goautoneg"

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

	making sync.Mutex // held while a document of version 2 is made, which takes the memory of all schemas
	own    ownPart    // of the documents of version 2; making must be held
}

// A document is one rendered form of one specification.
type document struct {
	path   string
	hash   string // of what it is made from
	once   sync.Once
	made   atomic.Bool
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

// ServeHTTP answers below /openapi/, whatever the method, as upstream.
func (d *Documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case path == v2Path:
		d.serve(w, r, mediaProtoV2, d.v2)
	case path == indexPath:
		d.serve(w, r, "", d.v3Index)
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
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if asked := r.URL.Query().Get("hash"); asked != "" {
		if asked != hash {
			w.Header().Set("Content-Type", mediaJSON) // upstream's is set by now, and so the answer has no page in it
			http.Redirect(w, r, addressV3(gv, hash), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	d.serve(w, r, mediaProtoV3, func(media string) *document {
		doc := d.document(e, path, media)
		doc.make(func(w io.Writer) error {
			data, err := e.v3(gv)
			if err != nil {
				return err
			}
			return writeV3(w, media, data)
		})
		return doc
	})
}

// v3Index returns the index of the documents of version 3.
func (d *Documents) v3Index(media string) *document {
	e := d.edition()
	doc := d.document(e, indexPath, media)
	doc.make(e.v3Index)
	return doc
}

// v2 returns the document of version 2. Who has waited for another gets one of what there is by then.
func (d *Documents) v2(media string) *document {
	if doc := d.document(d.edition(), v2Path, media); doc.made.Load() {
		return doc
	}
	d.making.Lock()
	defer d.making.Unlock()
	e := d.edition()
	doc := d.document(e, v2Path, media)
	doc.make(func(w io.Writer) error { return newV2Writer(e, &d.own).write(w, media) })
	return doc
}

// negotiate returns the media type to answer with: JSON, or proto, if there is such a form, where the client prefers it.
func negotiate(r *http.Request, proto string) (media string, ok bool) {
	accept := r.Header.Get("Accept")
	if accept == "" || proto == "" {
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

// serve answers with the document that find returns of a media type: JSON, or proto if the client prefers that.
func (d *Documents) serve(w http.ResponseWriter, r *http.Request, proto string, find func(media string) *document) {
	media, ok := negotiate(r, proto)
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	doc := find(media)
	if doc.err != nil {
		http.Error(w, fmt.Sprintf("make %s: %v", doc.path, doc.err), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", media)
	if proto == "" {
		h.Set("Content-Type", "text/plain; charset=utf-8") // upstream has the index's found out from what it begins with
	}
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

// make makes the document, once, of what write writes.
func (doc *document) make(write func(io.Writer) error) {
	doc.once.Do(func() {
		var packed bytes.Buffer
		z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // there is such a level
		sum := sha512.New()
		if doc.err = write(io.MultiWriter(z, sum)); doc.err == nil {
			doc.err = z.Close()
		}
		doc.packed, doc.etag = bytes.Clone(packed.Bytes()), fmt.Sprintf("%q", fmt.Sprintf("%X", sum.Sum(nil)))
		doc.made.Store(true)
	})
}
