// Package extremes finds in a request's body what the libraries that decode it would pay for out of all proportion:
// messages inside of messages until the stack is full, which ends the process, and amounts such as 1e-999999999, for
// whose digits they would need minutes and gigabytes. The looks are cheap for bodies that have neither. The same amounts
// are refused in expressions, whose cost does not count them, and answers of servers that the API server itself asks
// have an end.
package extremes

import "encoding/binary"

const (
	// maxDepth is how deep messages may lie inside of each other, as in JSON and in protobuf's newer libraries.
	maxDepth = 10_000
	// shallow is how large a message must be to hold so many of them that it matters.
	shallow = 64 << 10
)

// TooDeep says whether a protobuf message may hold others inside of each other, more than maxDepth of them. What is a
// message and what only text is not known here: text that could be a message counts as one. Every byte is looked at
// once, or not at all.
func TooDeep(raw []byte) bool {
	if len(raw) < shallow {
		return false
	}
	levels := [][]byte{raw}
	for len(levels) > 0 {
		top := len(levels) - 1
		inner, rest, ok := nextField(levels[top])
		if !ok {
			levels = levels[:top]
			continue
		}
		if levels[top] = rest; len(inner) == 0 {
			continue
		}
		if levels = append(levels, inner); len(levels) > maxDepth {
			return true
		}
	}
	return false
}

// Protobuf's wire types.
const (
	wireVarint = iota
	wireFixed64
	wireBytes
	wireStartGroup
	wireEndGroup
	wireFixed32
)

// nextField takes the first field off a message; inner is its content if it has a length. False: there is none, or it
// is malformed.
func nextField(b []byte) (inner, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 {
		return nil, nil, false
	}
	b = b[n:]
	size := 0
	switch tag & 7 {
	case wireVarint:
		if _, size = binary.Uvarint(b); size <= 0 {
			return nil, nil, false
		}
	case wireFixed64:
		size = 8
	case wireFixed32:
		size = 4
	case wireBytes:
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return nil, nil, false
		}
		return b[n : n+int(length)], b[n+int(length):], true
	case wireStartGroup, wireEndGroup: // what is in a group is looked at like what surrounds it
	default:
		return nil, nil, false
	}
	if size > len(b) {
		return nil, nil, false
	}
	return nil, b[size:], true
}
