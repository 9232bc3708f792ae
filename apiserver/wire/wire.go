// Package wire writes objects as Kubernetes puts them on the wire: JSON, CBOR, protobuf envelopes, watch
// frames. Stored objects carry no kind of their own, so that one encoding serves both a list, whose items have
// none, and an answer or event of one object, where the kind comes first.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api/envelope"
)

// A Message is a Go type with a protobuf form.
type Message = envelope.Message

// A Kind is what precedes the content of an object of one kind, in each format.
type Kind struct {
	GVK      schema.GroupVersionKind
	jsonHead []byte // {"kind":"Pod","apiVersion":"v1",
	cborKind []byte // the same as two entries of a map
	head     envelope.Head
}

// NewKind prepares the heads of gvk.
func NewKind(gvk schema.GroupVersionKind) *Kind {
	version := gvk.GroupVersion().String()
	head := `{"kind":` + strconv.Quote(gvk.Kind) + `,`
	if version != "" {
		head += `"apiVersion":` + strconv.Quote(version) + `,`
	}
	return &Kind{GVK: gvk, jsonHead: []byte(head), cborKind: newCBORKind(version, gvk.Kind), head: envelope.NewHead(gvk)}
}

func appendBytes(dst []byte, tag byte, b []byte) []byte {
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

func uvarintLen(n int) int {
	l := 1
	for n >= 0x80 {
		n >>= 7
		l++
	}
	return l
}

// JSON returns obj with its kind, without a newline at the end.
func (k *Kind) JSON(obj runtime.Object) ([]byte, error) {
	body, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	if _, ok := obj.(runtime.Unstructured); ok || len(body) < 3 {
		return body, nil // it has its kind already
	}
	return k.NamedJSON(body), nil
}

// NamedJSON returns the JSON form of an object without a kind with its kind.
func (k *Kind) NamedJSON(body []byte) []byte {
	out := make([]byte, 0, len(k.jsonHead)+len(body)-1)
	out = append(out, k.jsonHead...)
	return append(out, body[1:]...)
}

// BareJSON cuts the kind off what JSON returned.
func (k *Kind) BareJSON(full []byte) (open byte, rest []byte) {
	if len(full) > len(k.jsonHead) && string(full[:len(k.jsonHead)]) == string(k.jsonHead) {
		return '{', full[len(k.jsonHead):]
	}
	return full[0], full[1:]
}

// Protobuf returns obj in its envelope.
func (k *Kind) Protobuf(obj runtime.Object) ([]byte, error) {
	m, ok := obj.(envelope.Message)
	if !ok {
		return nil, fmt.Errorf("%T has no protobuf form", obj)
	}
	return k.head.Marshal(m)
}

// Envelope returns what surrounds a protobuf body of the given size.
func (k *Kind) Envelope(size int) (head, tail []byte) { return k.head.Around(size) }

// BareProtobuf cuts the envelope off what Protobuf returned.
func (k *Kind) BareProtobuf(full []byte) []byte { return k.head.Message(full) }

// JSONEvent appends a watch event to dst: one line.
func JSONEvent(dst []byte, eventType string, object []byte) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, eventType...)
	dst = append(dst, `","object":`...)
	dst = append(dst, object...)
	return append(dst, "}\n"...)
}

// ProtobufEvent appends a watch event to dst: a length, the type, and the object in its envelope.
func ProtobufEvent(dst []byte, eventType string, object []byte) []byte {
	extension := 1 + uvarintLen(len(object)) + len(object)
	size := 1 + uvarintLen(len(eventType)) + len(eventType) + 1 + uvarintLen(extension) + extension
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	dst = appendBytes(dst, 0x0a, []byte(eventType))
	dst = append(dst, 0x12)
	dst = binary.AppendUvarint(dst, uint64(extension))
	return appendBytes(dst, 0x0a, object)
}
