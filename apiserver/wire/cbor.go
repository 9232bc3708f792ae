package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
)

// The library encodes objects. What is here puts encoded pieces together, so that one encoding of an object
// serves answers, lists and events, as it does in the other formats.

// selfDescribed is the tag that begins every object; lists do not repeat it for their items.
var selfDescribed = []byte{0xd9, 0xd9, 0xf7}

// The major types of CBOR that join pieces.
const (
	cborBytes = 2 << 5
	cborArray = 4 << 5
	cborMap   = 5 << 5
)

// encoder writes maps in any order, as upstream does: sorting is only for what is compared byte by byte.
var encoder = cbor.NewSerializer(nil, nil)

// AnyCBOR returns obj as it is: it carries its kind itself.
func AnyCBOR(obj runtime.Object) ([]byte, error) {
	var out bytes.Buffer
	err := encoder.EncodeNondeterministic(obj, &out)
	return out.Bytes(), err
}

// CBOR returns obj with its kind.
func (k *Kind) CBOR(obj runtime.Object) ([]byte, error) {
	full, err := AnyCBOR(obj)
	if err != nil {
		return nil, err
	}
	if _, ok := obj.(runtime.Unstructured); ok {
		return full, nil // it has its kind already
	}
	entries, rest, err := cutMap(full[len(selfDescribed):])
	if err != nil {
		return nil, fmt.Errorf("%T: %w", obj, err)
	}
	out := make([]byte, 0, len(full)+len(k.cborKind)+2)
	out = appendCBORHead(append(out, selfDescribed...), cborMap, entries+kindEntries)
	return append(append(out, k.cborKind...), rest...), nil
}

// kindEntries is how many entries of a map the kind is: kind and apiVersion.
const kindEntries = 2

// appendBareCBOR appends to dst what CBOR returned, without its kind.
func (k *Kind) appendBareCBOR(dst, full []byte) ([]byte, error) {
	object := full[len(selfDescribed):]
	entries, rest, err := cutMap(object)
	if err != nil {
		return nil, err
	}
	if rest, ok := bytes.CutPrefix(rest, k.cborKind); ok {
		return append(appendCBORHead(dst, cborMap, entries-kindEntries), rest...), nil
	}
	return append(dst, object...), nil // a custom resource: its kind is among its content
}

// CBORList returns a list of kind k, given its metadata, which is encoded as it is, and its items, which CBOR
// of the kind item has returned.
func (k *Kind) CBORList(meta any, item *Kind, items [][]byte) ([]byte, error) {
	encoded, err := direct.Marshal(meta)
	if err != nil {
		return nil, err
	}
	size := len(selfDescribed) + len(k.cborKind) + len(encoded) + 32
	for _, part := range items {
		size += len(part)
	}
	const metadataAndItems = 2
	out := appendCBORHead(append(make([]byte, 0, size), selfDescribed...), cborMap, kindEntries+metadataAndItems)
	out = append(out, k.cborKind...)
	out = append(appendCBORText(out, "metadata"), encoded...)
	out = appendCBORHead(appendCBORText(out, "items"), cborArray, len(items))
	for _, part := range items {
		if out, err = item.appendBareCBOR(out, part); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// CBOREvent appends a watch event to dst: an item of a CBOR sequence, which needs no frame.
func CBOREvent(dst []byte, eventType string, object []byte) []byte {
	const typeAndObject = 2
	dst = appendCBORHead(append(dst, selfDescribed...), cborMap, typeAndObject)
	dst = appendCBORText(appendCBORText(dst, "type"), eventType)
	return append(appendCBORText(dst, "object"), object...)
}

func newCBORKind(version, kind string) []byte {
	out := appendCBORText(appendCBORText(nil, "kind"), kind)
	return appendCBORText(appendCBORText(out, "apiVersion"), version)
}

// appendCBORText appends a text as Kubernetes writes texts: as a byte string, which nobody has to check for UTF-8.
func appendCBORText(dst []byte, text string) []byte {
	return append(appendCBORHead(dst, cborBytes, len(text)), text...)
}

// The values of a head's lower bits from which on the number follows it, and how long it is.
const (
	inNextByte  = 24
	inNextTwo   = 25
	inNextFour  = 26
	lengthBits  = 0x1f
	mostInByte  = 0xff
	mostInTwo   = 0xffff
	headOfByte  = 2
	headOfTwo   = 3
	headOfFour  = 5
	longestHead = headOfFour
)

// appendCBORHead appends what precedes n bytes, elements or entries.
func appendCBORHead(dst []byte, major byte, n int) []byte {
	switch {
	case n < inNextByte:
		return append(dst, major|byte(n))
	case n <= mostInByte:
		return append(dst, major|inNextByte, byte(n))
	case n <= mostInTwo:
		return binary.BigEndian.AppendUint16(append(dst, major|inNextTwo), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, major|inNextFour), uint32(n))
}

// cutMap reads the head of a map and returns how many entries there are, and the entries.
func cutMap(data []byte) (entries int, rest []byte, err error) {
	var head [longestHead]byte
	if copy(head[:], data) == 0 || head[0]&^lengthBits != cborMap {
		return 0, nil, fmt.Errorf("the CBOR form is no map: % x", head)
	}
	size := 1
	switch n := head[0] & lengthBits; {
	case n < inNextByte:
		entries = int(n)
	case n == inNextByte:
		entries, size = int(head[1]), headOfByte
	case n == inNextTwo:
		entries, size = int(binary.BigEndian.Uint16(head[1:])), headOfTwo
	case n == inNextFour:
		entries, size = int(binary.BigEndian.Uint32(head[1:])), headOfFour
	default:
		return 0, nil, fmt.Errorf("the CBOR form is a map of unknown length: % x", head)
	}
	if size > len(data) {
		return 0, nil, fmt.Errorf("the CBOR form ends in its head: % x", data)
	}
	return entries, data[size:], nil
}
