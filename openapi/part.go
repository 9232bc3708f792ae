package openapi

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// The document of version 2 is one for all kinds, so that it is another whenever a kind comes or goes. It is joined from
// parts, each of which stays as long as what it is about does: what a kind adds, and what the server's own kinds do.

// A section is a place in the document that parts add to.
type section byte

const (
	inPaths section = iota
	inDefinitions
	inParameters // what all parts have in common: its texts are not theirs
	asReferences // not in the document: the models that the part refers to, and does not have
	sections     // how many there are
)

// An entry is a named value in a section.
type entry struct {
	section section
	name    string
	text    []byte // JSON, or a protobuf message of the name and the value
}

// A part is what is added, in any order.
type part []entry

// encode returns p as bytes, to be kept.
func (p part) encode() []byte {
	size := 0
	for _, e := range p {
		size += 1 + 2*binary.MaxVarintLen32 + len(e.name) + len(e.text)
	}
	out := make([]byte, 0, size)
	for _, e := range p {
		out = append(out, byte(e.section))
		out = append(binary.AppendUvarint(out, uint64(len(e.name))), e.name...)
		out = append(binary.AppendUvarint(out, uint64(len(e.text))), e.text...)
	}
	return out
}

var errBrokenPart = errors.New("a part of the OpenAPI document ends early")

// decodePart undoes encode. The part's texts are data's.
func decodePart(data []byte) (part, error) {
	var out part
	for len(data) > 0 {
		e := entry{section: section(data[0])}
		name, rest, ok := cutPrefixed(data[1:])
		if !ok || e.section >= sections {
			return nil, errBrokenPart
		}
		e.name = string(name)
		if e.text, data, ok = cutPrefixed(rest); !ok {
			return nil, errBrokenPart
		}
		out = append(out, e)
	}
	return out, nil
}

// cutPrefixed cuts off what follows its length.
func cutPrefixed(data []byte) (value, rest []byte, ok bool) {
	n, size := binary.Uvarint(data)
	if size <= 0 || n > uint64(len(data)-size) {
		return nil, nil, false
	}
	end := size + int(n)
	return data[size:end:end], data[end:], true
}

// A joint is all that parts add to the document, by section and in the order of names.
type joint [sections][]entry

func join(parts []part) joint {
	var out joint
	for _, p := range parts {
		for _, e := range p {
			out[e.section] = append(out[e.section], e)
		}
	}
	for i, entries := range out {
		slices.SortStableFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
		out[i] = slices.CompactFunc(entries, func(a, b entry) bool { return a.name == b.name })
	}
	return out
}

// withReferences adds the models that p refers to and does not have itself.
func (p part) withReferences() part {
	known := map[string]bool{}
	for _, e := range p {
		if e.section == inDefinitions {
			known[e.name] = true
		}
	}
	out := p
	for _, e := range p {
		eachReference(e.text, func(model string) {
			if !known[model] {
				known[model] = true
				out = append(out, entry{section: asReferences, name: model})
			}
		})
	}
	return out
}
