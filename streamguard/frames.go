package streamguard

import (
	"bytes"
	"encoding/binary"
)

// SPDY's control frames that open, answer and end streams, and others of which a connection may be weary.
const (
	synStream = 1
	synReply  = 2
	rstStream = 3
	settings  = 4
	ping      = 6
	headers   = 8
)

// misleads says whether the library reads another length than a frame says it has, so that the next begins elsewhere.
func misleads(kind uint16, length int) bool {
	switch kind {
	case rstStream:
		return length != 2*idLength
	case ping:
		return length != idLength
	}
	return kind == settings // as many as it says, and nobody sends any
}

const (
	headLength = 8 // of each frame, its length included
	idLength   = 4 // of the stream's number, with which these control frames go on
	maxPrelude = 64 << 10
)

// A frame is what is known of one when its stream's number is.
type frame struct {
	kind   uint16
	stream uint32
}

// A scanner follows one direction of a connection: the head of an HTTP message first, frames of SPDY after it.
type scanner struct {
	prelude []byte // nil once it has ended
	inert   bool   // there are no frames: the message does not switch protocols, or is none
	head    []byte // the beginning of a frame, as much as is known
	left    int    // bytes of the frame that are not of interest
}

func newScanner() scanner { return scanner{prelude: []byte{}} }

// between says that no frame is incomplete.
func (s *scanner) between() bool { return len(s.head) == 0 && s.left == 0 }

// next consumes bytes up to where a frame ends, or the stream is known that a control frame is about, which it returns.
func (s *scanner) next(b []byte) (used int, seen *frame) {
	switch {
	case s.inert:
		return len(b), nil
	case s.prelude != nil:
		return s.skipPrelude(b), nil
	case s.left > 0:
		used = min(s.left, len(b))
		s.left -= used
		return used, nil
	}
	for used < len(b) {
		s.head = append(s.head, b[used])
		used++
		if seen, known := s.headRead(); known {
			return used, seen
		}
	}
	return used, nil
}

// headRead looks at the head. It is known when nothing more of it is of interest.
func (s *scanner) headRead() (seen *frame, known bool) {
	if len(s.head) < headLength {
		return nil, false
	}
	kind := binary.BigEndian.Uint16(s.head[2:])
	length := int(binary.BigEndian.Uint32(s.head[4:]) & 0xffffff)
	control := s.head[0]&0x80 != 0
	switch {
	case control && misleads(kind, length):
		seen = &frame{kind: kind}
	case control && (kind >= synStream && kind <= rstStream || kind == headers) && length >= idLength:
		if len(s.head) < headLength+idLength {
			return nil, false
		}
		seen = &frame{kind: kind, stream: binary.BigEndian.Uint32(s.head[headLength:]) & 0x7fffffff}
		length -= idLength
	}
	s.head, s.left = s.head[:0], length
	return seen, true
}

// skipPrelude consumes the head of the HTTP message.
func (s *scanner) skipPrelude(b []byte) (used int) {
	before := len(s.prelude)
	s.prelude = append(s.prelude, b...)
	end := bytes.Index(s.prelude, []byte("\r\n\r\n"))
	if end < 0 {
		s.inert = len(s.prelude) > maxPrelude
		return len(b)
	}
	if bytes.HasPrefix(s.prelude, []byte("HTTP/")) { // an answer
		s.inert = !bytes.HasPrefix(s.prelude, []byte("HTTP/1.1 101 "))
	}
	s.prelude = nil
	return end + len("\r\n\r\n") - before
}
