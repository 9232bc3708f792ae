package openapi

import (
	"encoding/binary"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"clipper/api/jsonscan"
)

// The library that makes the protobuf forms builds trees of nodes and of messages first, which for a burst of definitions costs
// more than all the rest. A transcoder goes from text to message at once.

// A transcoder writes what it reads in JSON as the messages that the library would make of it, byte for byte. What
// our documents do not say in the usual way is left to the library.
type transcoder struct {
	jsonscan.Reader
	*forms
	out    []byte
	fields []span // of the messages that are being written
	moved  []byte // scratch
	depth  int
}

// A span is a field of a message that is being written, with all the values that a list has there.
type span struct {
	number     protowire.Number
	begin, end int
}

// deepest is how many messages may be in one another: what is deeper is unusual.
const deepest = 500

// transcode returns an entry's text as a message of its name and value, if that is written in the usual way.
func (f *forms) transcode(e entry) (message []byte, ok bool) {
	t := transcoder{Reader: jsonscan.New(string(e.text)), forms: f, out: make([]byte, 0, len(e.name)+len(e.text))}
	of := f.schema
	if e.section == inPaths {
		of = f.path
	}
	t.string(nameKey, e.name)
	t.message(nameValue, of)
	return t.out, t.Ended()
}

// The fields of a message that is an entry of a map.
const (
	nameKey   protowire.Number = 1
	nameValue protowire.Number = 2
)

// message reads an object, and writes it as a field that is a message.
func (t *transcoder) message(n protowire.Number, f *form) {
	t.nested(n, func() {
		first, begin := len(t.fields), len(t.out)
		for more := t.Open('{', '}'); more; more = t.More('}') {
			name, start := t.Key(), len(t.out)
			number := f.field(t, name)
			t.fields = append(t.fields, span{number, start, len(t.out)})
		}
		t.order(t.fields[first:], begin, f)
		t.fields = t.fields[:first]
	})
}

// order moves the fields of a message, which begins there, to where the library writes them: by their numbers.
func (t *transcoder) order(fields []span, begin int, f *form) {
	for _, n := range f.required {
		if !slices.ContainsFunc(fields, func(s span) bool { return s.number == n }) {
			t.Fail()
		}
	}
	byNumber := func(a, b span) int { return int(a.number) - int(b.number) }
	if slices.IsSortedFunc(fields, byNumber) && !f.twice(fields) {
		return
	}
	t.moved = append(t.moved[:0], t.out[begin:]...)
	slices.SortStableFunc(fields, byNumber)
	if f.twice(fields) {
		t.Fail()
	}
	t.out = t.out[:begin]
	for _, s := range fields {
		t.out = append(t.out, t.moved[s.begin-begin:s.end-begin]...)
	}
}

// nested writes a field that is a message, whose fields write writes.
func (t *transcoder) nested(n protowire.Number, write func()) {
	if t.depth++; t.depth > deepest {
		t.Fail()
	}
	t.out = protowire.AppendTag(t.out, n, protowire.BytesType)
	begin := len(t.out)
	write()
	size := uint64(len(t.out) - begin)
	prefix := protowire.SizeVarint(size)
	t.out = append(t.out, make([]byte, prefix)...)
	copy(t.out[begin+prefix:], t.out[begin:])
	binary.PutUvarint(t.out[begin:], size)
	t.depth--
}

// string writes a field, which is not there when it is empty.
func (t *transcoder) string(n protowire.Number, s string) {
	if s != "" {
		t.element(n, s)
	}
}

// element writes one of the values that a field repeats.
func (t *transcoder) element(n protowire.Number, s string) {
	t.out = protowire.AppendString(protowire.AppendTag(t.out, n, protowire.BytesType), s)
}

func (t *transcoder) number(n protowire.Number, v float64) {
	if v != 0 || math.Signbit(v) {
		t.out = protowire.AppendFixed64(protowire.AppendTag(t.out, n, protowire.Fixed64Type), math.Float64bits(v))
	}
}

func (t *transcoder) integer(n protowire.Number, v int64) {
	if v != 0 {
		t.varint(n, uint64(v))
	}
}

func (t *transcoder) varint(n protowire.Number, v uint64) {
	t.out = protowire.AppendVarint(protowire.AppendTag(t.out, n, protowire.VarintType), v)
}

// any reads whatever there is, and writes it as a field that has it in YAML.
func (t *transcoder) any(n protowire.Number) {
	const inYAML = 2
	text, ok := t.yaml(t.Raw())
	if !ok {
		t.Fail()
	}
	t.nested(n, func() { t.element(inYAML, text) })
}

// entries reads an object whose names are the user's, and writes it as a field that is a message of a list of them.
func (t *transcoder) entries(n protowire.Number, value func(name string)) {
	t.nested(n, func() {
		for more := t.Open('{', '}'); more; more = t.More('}') {
			t.nested(1, func() {
				name := t.Key()
				t.string(nameKey, name)
				value(name)
			})
		}
	})
}

// list reads a list by its elements.
func (t *transcoder) list(element func()) {
	for more := t.Open('[', ']'); more; more = t.More(']') {
		element()
	}
}

// ahead returns the string that the object which is read next has under a name.
func (t *transcoder) ahead(name string) (value string, ok bool) {
	r := t.Reader
	for more := r.Open('{', '}'); more; more = r.More('}') {
		if r.Key() == name && r.Peek() == '"' {
			return r.Text(), true
		}
		r.Checking = true // what it says is of no interest
		r.Raw()
		r.Checking = false
	}
	return "", false
}
