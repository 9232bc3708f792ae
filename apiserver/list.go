package apiserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/served"
	"clipper/apiserver/wire"
	"clipper/store"
)

// writeList answers with a list of stored objects. Items are written one by one: no list object is made.
func (q *request) writeList(list *pipeline.List) {
	m, ok := q.media()
	if !ok {
		return
	}
	meta := metav1.ListMeta{
		ResourceVersion:    strconv.FormatInt(list.Revision, 10),
		Continue:           list.Continue,
		RemainingItemCount: list.Remaining,
	}
	switch {
	case m.target.kind != "":
		q.writeTransformedList(m, list.Items, meta)
	case m.format == formatProtobuf && isMessage(q.kind):
		q.writeProtobufList(list.Items, meta)
	case m.format == formatCBOR:
		q.writeCBORList(m, list.Items, meta)
	default:
		q.writeJSONList(m, list.Items, meta)
	}
}

func isMessage(k *served.Kind) bool {
	_, ok := k.Empty().(wire.Message)
	return ok
}

func (q *request) listKind() *wire.Kind {
	return wireKind(schema.GroupVersionKind{Group: q.kind.GVK.Group, Version: q.kind.GVK.Version, Kind: q.kind.ListKind})
}

// writeProtobufList writes every list's two fields: metadata is 1, items are 2. The sizes come first, so
// that the items can follow without being kept.
func (q *request) writeProtobufList(items []*store.Item, meta metav1.ListMeta) {
	head, err := meta.Marshal()
	if err != nil {
		q.fail(err)
		return
	}
	objects, sizes := make([]wire.Message, len(items)), make([]int, len(items))
	size := fieldSize(len(head))
	for i, item := range items {
		obj, err := q.kind.FromHub(item.Object)
		if err != nil {
			q.fail(err)
			return
		}
		objects[i] = obj.(wire.Message)
		sizes[i] = objects[i].Size()
		size += fieldSize(sizes[i])
	}
	open, tail := q.listKind().Envelope(size)
	out := q.begin(http.StatusOK, typeProtobuf, len(open)+size+len(tail))
	defer out.Close()
	part := append(make([]byte, 0, listPart), open...)
	part = appendField(part, 0x0a, head)
	for i, obj := range objects {
		if len(part) > 0 && len(part)+fieldSize(sizes[i]) > listPart {
			if _, err := out.Write(part); err != nil {
				return // the client is gone
			}
			part = part[:0]
		}
		if part, err = appendMessage(part, sizes[i], obj); err != nil {
			return // half an answer is out already
		}
	}
	_, _ = out.Write(append(part, tail...))
}

// listPart is how much of a list is made at a time, unless one object is larger.
const listPart = 64 << 10

func fieldSize(n int) int {
	size := 1 + n
	for l := n; ; l >>= 7 {
		size++
		if l < 0x80 {
			return size
		}
	}
}

func appendField(dst []byte, tag byte, b []byte) []byte {
	return append(appendHead(dst, tag, len(b)), b...)
}

func appendHead(dst []byte, tag byte, n int) []byte {
	dst = append(dst, tag)
	for ; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

// appendMessage appends an item of a list.
func appendMessage(dst []byte, size int, m wire.Message) ([]byte, error) {
	dst = appendHead(dst, 0x12, size)
	at := len(dst)
	dst = slices.Grow(dst, size)[:at+size]
	_, err := m.MarshalToSizedBuffer(dst[at:])
	return dst, err
}

// writeJSONList writes the items without their kind, as typed lists have them.
func (q *request) writeJSONList(m media, items []*store.Item, meta metav1.ListMeta) {
	open, tail, err := q.jsonFrame(meta)
	if err != nil {
		q.fail(err)
		return
	}
	parts, err := q.encodeItems(items, formatJSON)
	if err != nil {
		q.fail(err)
		return
	}
	size := len(open) + len(tail)
	for _, part := range parts {
		size += len(part) + 1
	}
	body := append(make([]byte, 0, size), open...)
	item := wireKind(q.kind.GVK)
	for i, part := range parts {
		if i > 0 {
			body = append(body, ',')
		}
		brace, rest := item.BareJSON(part)
		body = append(append(body, brace), rest...)
	}
	body = append(body, tail...)
	if m.format == formatProtobuf {
		m.format = formatJSON // a kind without protobuf form
	}
	q.writeBody(http.StatusOK, m, body)
}

// jsonFrame is what stands around the items of a list. Upstream keeps custom resources as maps, so that the keys of their
// lists are in order.
func (q *request) jsonFrame(meta metav1.ListMeta) (open, tail []byte, err error) {
	list := q.listKind().GVK
	kind := strconv.AppendQuote([]byte(`"kind":`), list.Kind)
	version := strconv.AppendQuote([]byte(`"apiVersion":`), list.GroupVersion().String())
	shown := any(meta)
	if q.kind.Custom != nil {
		shown = customListMeta(meta)
	}
	text, err := json.Marshal(shown)
	if err != nil {
		return nil, nil, err
	}
	text = append([]byte(`"metadata":`), text...)
	if q.kind.Custom != nil {
		return fmt.Appendf(nil, `{%s,"items":[`, version), fmt.Appendf(nil, `],%s,%s}`, kind, text), nil
	}
	return fmt.Appendf(nil, `{%s,%s,%s,"items":[`, kind, version, text), []byte(`]}`), nil
}

// encodeItems encodes a list's items. What a webhook converts goes to it in one piece.
func (q *request) encodeItems(items []*store.Item, f format) ([][]byte, error) {
	parts := make([][]byte, len(items))
	var err error
	if c := q.kind.Custom; c == nil || !c.Remote {
		for i, item := range items {
			if parts[i], err = encoded(q.kind, item, f); err != nil {
				return nil, err
			}
		}
		return parts, nil
	}
	objects := make([]api.Object, len(items))
	for i, item := range items {
		objects[i] = item.Object
	}
	if objects, err = q.kind.FromHubAll(objects); err != nil {
		return nil, err
	}
	for i, o := range objects {
		if parts[i], err = encodeObject(wireKind(q.kind.GVK), o, f); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// customListMeta is the metadata of a list of custom resources: an empty continue is there, too.
func customListMeta(meta metav1.ListMeta) map[string]any {
	shown := map[string]any{"continue": meta.Continue, "resourceVersion": meta.ResourceVersion}
	if meta.RemainingItemCount != nil {
		shown["remainingItemCount"] = *meta.RemainingItemCount
	}
	return shown
}

// transform turns an object into what m asks for.
func (q *request) transform(m media, objs []api.Object, meta metav1.ListMeta, list, headers bool) (runtime.Object, error) {
	if q.kind.Custom != nil {
		var err error
		if objs, err = q.kind.FromHubAll(objs); err != nil {
			return nil, err
		}
	}
	if m.target.kind == "Table" {
		return q.table(m, objs, meta, headers)
	}
	gv := schema.GroupVersion{Group: metav1.GroupName, Version: m.target.version}
	wantsList := m.target.kind == "PartialObjectMetadataList"
	switch {
	case wantsList && !list:
		return nil, notAcceptableText("you requested PartialObjectMetadataList, but the requested object is not a list (%s)", q.internalType(q.kind.GVK.Kind, "Unstructured"))
	case !wantsList && list:
		return nil, notAcceptableText("you requested PartialObjectMetadata, but the requested object is a list (%s)", q.internalType(q.kind.ListKind, "UnstructuredList"))
	case !list:
		return q.partial(objs[0], gv), nil
	}
	out := &metav1.PartialObjectMetadataList{ListMeta: meta}
	if len(objs) > 0 { // upstream shows an empty list as null
		out.Items = make([]metav1.PartialObjectMetadata, len(objs))
	}
	out.SetGroupVersionKind(gv.WithKind("PartialObjectMetadataList"))
	for i, obj := range objs {
		out.Items[i] = *q.partial(obj, gv)
	}
	return out, nil
}

// internalType names the Go type that upstream keeps objects of a kind in; its messages show it.
func (q *request) internalType(kind, custom string) string {
	if q.kind.Custom != nil {
		return "*unstructured." + custom
	}
	group, _, _ := strings.Cut(q.kind.GVK.Group, ".")
	if group == "" || group == "events" {
		group = "core"
	}
	return "*" + group + "." + kind
}

func (q *request) partial(obj api.Object, gv schema.GroupVersion) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{ObjectMeta: *objectMeta(obj)}
	if own := q.kind.OwnAnnotation; own != "" && p.Annotations[own] != "" {
		p.Annotations = maps.Clone(p.Annotations)
		delete(p.Annotations, own)
	}
	p.SetGroupVersionKind(gv.WithKind("PartialObjectMetadata"))
	return p
}

// objectMeta returns an object's metadata, shared with it.
func objectMeta(obj api.Object) *metav1.ObjectMeta {
	if o, ok := obj.(metav1.ObjectMetaAccessor); ok {
		if m, ok := o.GetObjectMeta().(*metav1.ObjectMeta); ok {
			return m
		}
	}
	return &metav1.ObjectMeta{
		Name:                       obj.GetName(),
		GenerateName:               obj.GetGenerateName(),
		Namespace:                  obj.GetNamespace(),
		SelfLink:                   obj.GetSelfLink(),
		UID:                        obj.GetUID(),
		ResourceVersion:            obj.GetResourceVersion(),
		Generation:                 obj.GetGeneration(),
		CreationTimestamp:          obj.GetCreationTimestamp(),
		DeletionTimestamp:          obj.GetDeletionTimestamp(),
		DeletionGracePeriodSeconds: obj.GetDeletionGracePeriodSeconds(),
		Labels:                     obj.GetLabels(),
		Annotations:                obj.GetAnnotations(),
		OwnerReferences:            obj.GetOwnerReferences(),
		Finalizers:                 obj.GetFinalizers(),
		ManagedFields:              obj.GetManagedFields(),
	}
}

func (q *request) writeTransformed(code int, m media, obj api.Object) {
	out, err := q.transform(m, []api.Object{obj}, metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}, false, true)
	q.writeAny(code, m, out, err)
}

func (q *request) writeTransformedList(m media, items []*store.Item, meta metav1.ListMeta) {
	objs := make([]api.Object, len(items))
	for i, item := range items {
		objs[i] = item.Object
	}
	out, err := q.transform(m, objs, meta, true, true)
	q.writeAny(http.StatusOK, m, out, err)
}

// writeAny answers with an object that carries its kind itself.
func (q *request) writeAny(code int, m media, out runtime.Object, err error) {
	if err != nil {
		q.fail(err)
		return
	}
	body, err := encodeAny(m.format, out)
	if err != nil {
		q.fail(err)
		return
	}
	q.writeBody(code, m, body)
}

func encodeAny(f format, out runtime.Object) ([]byte, error) {
	switch f {
	case formatCBOR:
		return wire.AnyCBOR(out)
	case formatJSON, formatYAML:
		return json.Marshal(out)
	}
	obj := out.(interface {
		wire.Message
		GroupVersionKind() schema.GroupVersionKind
	})
	gvk := obj.GroupVersionKind()
	head, tail := wireKind(gvk).Envelope(obj.Size())
	raw, err := obj.Marshal()
	return append(append(head, raw...), tail...), err
}
