// Package envelope puts protobuf messages into the envelope that Kubernetes gives them on the wire and in
// etcd, and takes them out again: a magic number, then a runtime.Unknown with version, kind and message.
package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Magic opens every envelope.
var Magic = []byte{'k', '8', 's', 0}

// tail ends an envelope: upstream always writes its two empty fields, encoding and type.
var tail = []byte{tagEncoding, 0x00, tagType, 0x00}

// The fields of runtime.Unknown, and of the TypeMeta in its first.
const (
	tagTypeMeta = 0x0a
	tagRaw      = 0x12
	tagEncoding = 0x1a
	tagType     = 0x22

	tagVersion = 0x0a
	tagKind    = 0x12
)

// A Message is a Go type with a protobuf form.
type Message interface {
	Size() int
	Marshal() ([]byte, error)
	MarshalToSizedBuffer([]byte) (int, error)
}

// A Head is what precedes the messages of one kind.
type Head []byte

// NewHead returns the head of gvk.
func NewHead(gvk schema.GroupVersionKind) Head {
	meta := appendField(nil, tagVersion, []byte(gvk.GroupVersion().String()))
	meta = appendField(meta, tagKind, []byte(gvk.Kind))
	return appendField(append(Head(nil), Magic...), tagTypeMeta, meta)
}

func appendField(dst []byte, tag byte, b []byte) []byte {
	dst = binary.AppendUvarint(append(dst, tag), uint64(len(b)))
	return append(dst, b...)
}

// Around returns what surrounds a message of the given size.
func (h Head) Around(size int) (head, end []byte) {
	head = append(make([]byte, 0, len(h)+1+binary.MaxVarintLen64), h...)
	return binary.AppendUvarint(append(head, tagRaw), uint64(size)), tail
}

// Marshal returns m in its envelope.
func (h Head) Marshal(m Message) ([]byte, error) {
	size := m.Size()
	out := make([]byte, 0, len(h)+1+binary.MaxVarintLen32+size+len(tail))
	out = binary.AppendUvarint(append(append(out, h...), tagRaw), uint64(size))
	start := len(out)
	out = out[:start+size]
	if _, err := m.MarshalToSizedBuffer(out[start:]); err != nil {
		return nil, err
	}
	return append(out, tail...), nil
}

// Message returns the message in what Marshal returned, not a copy of it.
func (h Head) Message(full []byte) []byte {
	rest := full[len(h)+1:]
	size, n := binary.Uvarint(rest)
	return rest[n : n+int(size)]
}

// Opened is an envelope taken apart.
type Opened struct {
	APIVersion, Kind string
	Raw              []byte // the message; a part of what was opened
}

// Open takes an envelope apart.
func Open(data []byte) (Opened, error) {
	if len(data) == 0 {
		return Opened{}, errors.New("empty data")
	}
	if len(data) < len(Magic) || string(data[:len(Magic)]) != string(Magic) {
		return Opened{}, fmt.Errorf("provided data does not appear to be a protobuf message, expected prefix %v", Magic)
	}
	data = data[len(Magic):]
	if o, ok := open(data); ok {
		return o, nil
	}
	// It has unusual fields, or faults that the library has words for.
	var u runtime.Unknown
	if err := u.Unmarshal(data); err != nil {
		return Opened{}, err
	}
	return Opened{APIVersion: u.APIVersion, Kind: u.Kind, Raw: u.Raw}, nil
}

// open reads an envelope as everybody writes it, without copying the message; false if it is otherwise.
func open(data []byte) (o Opened, ok bool) {
	var meta []byte
	if meta, data, ok = cut(data, tagTypeMeta); !ok {
		return o, false
	}
	if o.Raw, data, ok = cut(data, tagRaw); !ok {
		return o, false
	}
	for _, tag := range tail {
		if tag == 0 || len(data) == 0 {
			continue
		}
		if _, data, ok = cut(data, tag); !ok {
			return o, false
		}
	}
	version, meta, ok := cut(meta, tagVersion)
	if !ok {
		return o, false
	}
	kind, meta, ok := cut(meta, tagKind)
	o.APIVersion, o.Kind = string(version), string(kind)
	return o, ok && len(meta) == 0 && len(data) == 0
}

// cut takes the first field off data if it has the tag.
func cut(data []byte, tag byte) (field, rest []byte, ok bool) {
	if len(data) < 2 || data[0] != tag {
		return nil, data, false
	}
	size, n := binary.Uvarint(data[1:])
	if n <= 0 || size > uint64(len(data)-1-n) {
		return nil, data, false
	}
	data = data[1+n:]
	return data[:size:size], data[size:], true
}
