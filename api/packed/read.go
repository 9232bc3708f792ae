package packed

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// read reads the JSON text of a schema. The library reads a part of a schema once more for every list that the part is in,
// and makes a string of each name: this takes a third of the time for what is written in the usual way, and leaves
// everything else to the library.
func read(text []byte) (*apiextensionsv1.JSONSchemaProps, error) {
	r := reader{text: string(text)}
	out := &apiextensionsv1.JSONSchemaProps{}
	if r.schema(out); r.ended() {
		return out, nil
	}
	out = &apiextensionsv1.JSONSchemaProps{}
	return out, json.Unmarshal(text, out)
}

// IsSchema says whether a valid JSON text is a schema's: of a stored definition that is all there is to look at before somebody
// asks for it.
func IsSchema(text []byte) bool {
	r := reader{text: string(text), checking: true}
	if r.schema(&apiextensionsv1.JSONSchemaProps{}); r.ended() {
		return true
	}
	return json.Unmarshal(text, &apiextensionsv1.JSONSchemaProps{}) == nil
}

// deepest is how many schemas may be in one another: what is deeper is unusual enough.
const deepest = 200

// A reader reads a text from its beginning to its end, or to the first thing that is unusual. What it returns are parts of
// the text: who has one has all of it.
type reader struct {
	text     string
	at       int
	depth    int
	unusual  bool
	checking bool // the text is valid JSON, and what it says of no interest
}

func (r *reader) fail() { r.unusual, r.at = true, len(r.text) }

// ended says whether all of the text was read.
func (r *reader) ended() bool {
	r.peek()
	return !r.unusual && r.at == len(r.text)
}

// peek returns the next byte that is no space; 0 at the end.
func (r *reader) peek() byte {
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
func (r *reader) skip(c byte) {
	if r.peek() != c {
		r.fail()
		return
	}
	r.at++
}

// open begins an object or a list, which ends with end, and says whether there is anything in it.
func (r *reader) open(begin, end byte) bool {
	r.skip(begin)
	if r.peek() == end {
		r.at++
		return false
	}
	return !r.unusual
}

// more says whether another element follows.
func (r *reader) more(end byte) bool {
	switch r.peek() {
	case ',':
		r.at++
		return true
	case end:
		r.at++
	default:
		r.fail()
	}
	return false
}

// key reads a field's name.
func (r *reader) key() string {
	name := r.string()
	r.skip(':')
	return name
}

func (r *reader) string() string {
	r.skip('"')
	begin := r.at
	end := strings.IndexByte(r.text[begin:], '"')
	if end < 0 {
		r.fail()
		return ""
	}
	s, ascii := r.text[begin:begin+end], true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			return r.escaped(begin)
		case c < ' ':
			r.fail()
			return ""
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if !ascii && !utf8.ValidString(s) {
		r.fail()
	}
	r.at = begin + end + 1
	return s
}

// escaped reads the string that begins there.
func (r *reader) escaped(begin int) (s string) {
	for end := begin; end < len(r.text); end++ {
		switch r.text[end] {
		case '\\':
			end++
		case '"':
			r.at = end + 1
			if !r.checking && json.Unmarshal([]byte(r.text[begin-1:r.at]), &s) != nil {
				r.fail()
			}
			return s
		}
	}
	r.fail()
	return ""
}

// token reads what is neither an object, nor a list, nor a string.
func (r *reader) token() string {
	r.peek()
	begin := r.at
	for r.at < len(r.text) && !strings.ContainsRune(",]} \t\r\n", rune(r.text[r.at])) {
		r.at++
	}
	return r.text[begin:r.at]
}

func (r *reader) bool() bool {
	token := r.token()
	if token != "true" && token != "false" {
		r.fail()
	}
	return token == "true"
}

func (r *reader) number() *float64 {
	token := r.token()
	n, err := strconv.ParseFloat(token, 64)
	if err != nil || !json.Valid([]byte(token)) {
		r.fail()
	}
	return &n
}

func (r *reader) integer() *int64 {
	token := r.token()
	n, err := strconv.ParseInt(token, 10, 64)
	if err != nil || !json.Valid([]byte(token)) {
		r.fail()
	}
	return &n
}

// raw reads any value, as it is written.
func (r *reader) raw() []byte {
	r.peek()
	begin := r.at
	for depth := 0; r.at < len(r.text); {
		switch r.text[r.at] {
		case '"':
			r.string()
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
	if r.unusual || r.checking {
		return nil
	}
	out := []byte(r.text[begin:r.at])
	if !json.Valid(out) {
		r.fail()
	}
	return out
}

// value reads a value of the user's.
func (r *reader) value() apiextensionsv1.JSON {
	if raw := r.raw(); string(raw) != "null" {
		return apiextensionsv1.JSON{Raw: raw}
	}
	return apiextensionsv1.JSON{}
}

// optional reads a value that is nil for null.
func (r *reader) optional() *apiextensionsv1.JSON {
	if v := r.value(); v.Raw != nil {
		return pointer(v)
	}
	return nil
}

// list reads a list by its elements. A field that is there twice is unusual.
func list[T any](r *reader, before []T, element func() T) []T {
	if before != nil {
		r.fail()
	}
	out := []T{}
	for more := r.open('[', ']'); more; more = r.more(']') {
		if v := element(); !r.checking {
			out = append(out, v)
		}
	}
	if r.checking {
		return nil
	}
	return out
}
