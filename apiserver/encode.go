package apiserver

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/klauspost/compress/gzip"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"clipper/api"
	"clipper/api/packed"
	"clipper/apiserver/served"
	"clipper/apiserver/wire"
	"clipper/store"
)

// gzipThreshold is the size from which answers are compressed, and gzipLevel how hard. Upstream's figures.
const (
	gzipThreshold = 128 << 10
	gzipLevel     = 1
)

// kinds keeps the wire heads of every kind that was ever written.
var kinds sync.Map // schema.GroupVersionKind → *wire.Kind

func wireKind(gvk schema.GroupVersionKind) *wire.Kind {
	if k, ok := kinds.Load(gvk); ok {
		return k.(*wire.Kind)
	}
	k, _ := kinds.LoadOrStore(gvk, wire.NewKind(gvk))
	return k.(*wire.Kind)
}

// encodingKey names an encoding in the cache of an item.
func encodingKey(f format, k *served.Kind) store.EncodingKey {
	key := store.EncodingKey{Form: typeJSON, Group: k.GVK.Group, Version: k.GVK.Version}
	if f == formatProtobuf || f == formatCBOR {
		key.Form = f.String()
	}
	if k.Custom != nil {
		key.Schema = k.Custom.ID // its fields and defaults are part of what is shown
	}
	return key
}

// encoded returns an item as one object with its kind, in protobuf, CBOR or JSON. The bytes are shared.
func encoded(k *served.Kind, item *store.Item, f format) ([]byte, error) {
	if k.Custom != nil && k.Custom.Remote {
		return encodeAs(k, item.Object, f) // the webhook may answer otherwise the next time
	}
	return item.Encoded(encodingKey(f, k), func() ([]byte, error) {
		return encodeAs(k, item.Object, f)
	})
}

func encodeAs(k *served.Kind, obj api.Object, f format) ([]byte, error) {
	if f != formatProtobuf && f != formatCBOR {
		if body, ok, err := packed.JSON(obj); err != nil {
			return nil, err
		} else if ok {
			return wireKind(k.GVK).NamedJSON(body), nil
		}
	}
	versioned, err := k.FromHub(obj)
	if err != nil {
		return nil, err
	}
	return encodeObject(wireKind(k.GVK), versioned, f)
}

func encodeObject(k *wire.Kind, obj runtime.Object, f format) ([]byte, error) {
	switch f {
	case formatProtobuf:
		return k.Protobuf(obj)
	case formatCBOR:
		return k.CBOR(obj)
	}
	return k.JSON(obj)
}

// writeItem answers with a stored object.
func (q *request) writeItem(code int, item *store.Item) {
	m, ok := q.media()
	switch {
	case !ok:
	case m.target.kind != "":
		q.writeTransformed(code, m, item.Object)
	default:
		body, err := encoded(q.kind, item, m.format)
		if err != nil {
			q.fail(err)
			return
		}
		q.writeBody(code, m, body)
	}
}

// writeHub answers with an object of the storage version that is not in the store: a dry run's result.
func (q *request) writeHub(code int, obj api.Object) {
	m, ok := q.media()
	switch {
	case !ok:
	case m.target.kind != "":
		q.writeTransformed(code, m, obj)
	default:
		body, err := encodeAs(q.kind, obj, m.format)
		if err != nil {
			q.fail(err)
			return
		}
		q.writeBody(code, m, body)
	}
}

// writeObject answers with an object of another kind: a Status, a Scale, a discovery document.
func (q *request) writeObject(code int, m media, obj runtime.Object, gvk schema.GroupVersionKind) {
	if _, ok := obj.(wire.Message); !ok && m.format == formatProtobuf {
		m.format = formatJSON
	}
	if status, ok := obj.(*metav1.Status); ok {
		q.answeredWith(status)
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	body, err := encodeObject(wireKind(gvk), obj, m.format)
	if err != nil {
		q.s.log.Error("answer cannot be encoded", "kind", gvk.Kind, "err", err)
		http.Error(q.w, err.Error(), http.StatusInternalServerError)
		return
	}
	q.writeBody(code, m, body)
}

// media negotiates the form of an answer and fails the request if there is none.
func (q *request) media() (media, bool) {
	m, ok := q.negotiate()
	if !ok {
		q.fail(notAcceptable(q.mediaTypes().objects...))
	}
	return m, ok
}

// acceptable says why no answer could be in a form that the client takes; nil if one can.
func (q *request) acceptable() error {
	if _, ok := q.negotiate(); !ok {
		return notAcceptable(q.mediaTypes().objects...)
	}
	return nil
}

// negotiate is done once: what comes later finds the result.
func (q *request) negotiate() (media, bool) {
	if q.negotiated == notYet {
		m, ok := negotiate(q.r, ability{q.targets(), q.cbor()})
		q.answer, q.negotiated = m, failed
		if ok {
			q.negotiated = agreed
		}
	}
	return q.answer, q.negotiated == agreed
}

// The states of an answer's form.
const (
	notYet = iota
	agreed
	failed
)

// writeBody sends an encoded object: protobuf and CBOR as they are, JSON with its newline, indented or as YAML.
func (q *request) writeBody(code int, m media, body []byte) {
	switch {
	case m.format == formatYAML:
		text, err := yaml.JSONToYAML(body)
		if err != nil {
			q.fail(err)
			return
		}
		body = text
	case m.format == formatJSON && m.pretty:
		body = indent(body)
	}
	newline := m.format == formatJSON && !m.pretty
	size := len(body)
	if newline {
		size++
	}
	out := q.begin(code, m.format.String(), size)
	defer out.Close()
	_, _ = out.Write(body) // the client may be gone; there is nobody to tell
	if newline {
		_, _ = out.Write(newlineByte)
	}
}

// indent makes JSON readable for people.
func indent(body []byte) []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, body, "", "  "); err != nil {
		return body // it is none: better shown as it is than not at all
	}
	return out.Bytes()
}

var newlineByte = []byte{'\n'}

// begin sends the header of an answer of a known size and returns where its body goes.
func (q *request) begin(code int, contentType string, size int) io.WriteCloser {
	q.leaveLane()
	q.handling.Event("About to write a response")
	h := q.w.Header()
	q.size = size
	h["Content-Type"] = contentTypeHeader(contentType)
	if size > gzipThreshold && !q.s.options.Features.Plain && acceptsGzip(q.r) {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
		q.writeHeader(code)
		gz := gzipPool.Get().(*gzip.Writer)
		gz.Reset(q.w)
		return q.serializing(q.recording(pooledGzip{gz}, contentType), contentType, size)
	}
	h["Content-Length"] = []string{strconv.Itoa(size)}
	q.writeHeader(code)
	return q.serializing(q.recording(plainWriter{q.w}, contentType), contentType, size)
}

func (q *request) writeHeader(code int) {
	q.code, q.wrote = code, true
	q.answering(code, q.long)
	q.w.WriteHeader(code)
}

// Header values that are the same every time are shared: net/http only reads them.
var (
	jsonHeader     = []string{typeJSON}
	protobufHeader = []string{typeProtobuf}
)

func contentTypeHeader(t string) []string {
	switch t {
	case typeJSON:
		return jsonHeader
	case typeProtobuf:
		return protobufHeader
	}
	return []string{t}
}

type plainWriter struct{ io.Writer }

func (plainWriter) Close() error { return nil }

var gzipPool = sync.Pool{New: func() any {
	gz, err := gzip.NewWriterLevel(nil, gzipLevel)
	if err != nil {
		panic(err) // the level is a constant
	}
	return gz
}}

type pooledGzip struct{ *gzip.Writer }

func (p pooledGzip) Close() error {
	err := p.Writer.Close()
	p.Reset(nil)
	gzipPool.Put(p.Writer)
	return err
}
