// Package jsonscan reads JSON that is written in the usual way, from its beginning to its end, into whatever its caller makes of
// it: no value is made that nobody asked for. What is unusual, or no JSON at all, ends the reading; there are
// libraries for that, and they say what is wrong with it.
package jsonscan

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Reader reads a text from its beginning to its end, or to the first thing that is unusual. What it returns are parts of
// the text: who has one has all of it.
type Reader struct {
	// Checking says that the text is valid JSON, and what it says of no interest.
	Checking bool

	text    string
	at      int
	unusual bool
}

// New returns a reader of text.
func New(text string) Reader { return Reader{text: text} }

// Fail says that something is unusual.
func (r *Reader) Fail() { r.unusual, r.at = true, len(r.text) }

// Ended says whether all of the text was read.
func (r *Reader) Ended() bool {
	r.Peek()
	return !r.unusual && r.at == len(r.text)
}

// Peek returns the next byte that is no space; 0 at the end.
func (r *Reader) Peek() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// skip reads one byte, which must be c.
func (r *Reader) skip(c byte) {
	if r.Peek() != c {
		r.Fail()
		return
	}
	r.at++
}

// Open begins an object or a list, which ends with end, and says whether there is anything in it.
func (r *Reader) Open(begin, end byte) bool {
	r.skip(begin)
	if r.Peek() == end {
		r.at++
		return false
	}
	return !r.unusual
}

// More says whether another element follows.
func (r *Reader) More(end byte) bool {
	switch r.Peek() {
	case ',':
		r.at++
		return true
	case end:
		r.at++
	default:
		r.Fail()
	}
	return false
}

// Key reads a field's name.
func (r *Reader) Key() string {
	name := r.Text()
	r.skip(':')
	return name
}

// Text reads a string.
func (r *Reader) Text() string {
	r.skip('"')
	begin := r.at
	end := strings.IndexByte(r.text[begin:], '"')
	if end < 0 {
		r.Fail()
		return ""
	}
	s, ascii := r.text[begin:begin+end], true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			return r.escaped(begin)
		case c < ' ':
			r.Fail()
			return ""
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if !ascii && !utf8.ValidString(s) {
		r.Fail()
	}
	r.at = begin + end + 1
	return s
}

// escaped reads the string that begins there.
func (r *Reader) escaped(begin int) (s string) {
	for end := begin; end < len(r.text); end++ {
		switch r.text[end] {
		case '\\':
			end++
		case '"':
			r.at = end + 1
			if !r.Checking && json.Unmarshal([]byte(r.text[begin-1:r.at]), &s) != nil {
				r.Fail()
			}
			return s
		}
	}
	r.Fail()
	return ""
}

// token reads what is neither an object, nor a list, nor a string.
func (r *Reader) token() string {
	r.Peek()
	begin := r.at
	for r.at < len(r.text) && !strings.ContainsRune(",]} \t\r\n", rune(r.text[r.at])) {
		r.at++
	}
	return r.text[begin:r.at]
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	token := r.token()
	if token != "true" && token != "false" {
		r.Fail()
	}
	return token == "true"
}

// Number reads a number that a float64 is near to.
func (r *Reader) Number() *float64 {
	token := r.token()
	n, err := strconv.ParseFloat(token, 64)
	if err != nil || !json.Valid([]byte(token)) {
		r.Fail()
	}
	return &n
}

// Integer reads a number that is written without a fraction.
func (r *Reader) Integer() *int64 {
	token := r.token()
	n, err := strconv.ParseInt(token, 10, 64)
	if err != nil || !json.Valid([]byte(token)) {
		r.Fail()
	}
	return &n
}

// Raw reads any value, as it is written.
func (r *Reader) Raw() []byte {
	r.Peek()
	begin := r.at
	for depth := 0; r.at < len(r.text); {
		switch r.text[r.at] {
		case '"':
			r.Text()
		case '{', '[':
			depth++
			r.at++
		case '}', ']':
			depth--
			r.at++
		case ',', ':', ' ', '\t', '\r', '\n':
			r.at++
		default:
			r.token()
		}
		if depth <= 0 {
			break
		}
	}
	if r.unusual || r.Checking {
		return nil
	}
	out := []byte(r.text[begin:r.at])
	if !json.Valid(out) {
		r.Fail()
	}
	return out
}
