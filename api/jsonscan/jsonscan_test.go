package jsonscan

import (
	"encoding/json"
	"testing"
)

// whole reads one value of any kind, with all that is in it.
func whole(r *Reader) {
	switch r.Peek() {
	case '{':
		for more := r.Open('{', '}'); more; more = r.More('}') {
			r.Key()
			whole(r)
		}
	case '[':
		for more := r.Open('[', ']'); more; more = r.More(']') {
			whole(r)
		}
	case '"':
		r.Text()
	case 't', 'f':
		r.Bool()
	default:
		r.Number()
	}
}

func TestValues(t *testing.T) {
	r := New(` {"a\n":"é","b":[true,-1,1.5e3, {} ,[]],"c" : {"d":null}} `)
	if !r.Open('{', '}') || r.Key() != "a\n" || r.Text() != "é" || !r.More('}') || r.Key() != "b" || !r.Open('[', ']') {
		t.Fatal("the beginning is not read")
	}
	if !r.Bool() || !r.More(']') || *r.Integer() != -1 || !r.More(']') || *r.Number() != 1500 || !r.More(']') || r.Open('{', '}') || !r.More(']') || r.Open('[', ']') || r.More(']') {
		t.Fatal("the list is not read")
	}
	if !r.More('}') || r.Key() != "c" || string(r.Raw()) != `{"d":null}` || r.More('}') || !r.Ended() {
		t.Error("the end is not read")
	}
}

func TestUnusual(t *testing.T) {
	for _, text := range []string{``, `{`, `{}}`, `[1,]`, `{"a"}`, `{"a":1,}`, `"a`, "\"\n\"", "\"\xff\"", `"\x"`, `01`, `.5`, `Inf`, `0x1`, `tru`, `null`, `{} {}`} {
		r := New(text)
		if whole(&r); r.Ended() {
			t.Errorf("%q is read", text)
		}
	}
}

// FuzzReader: what is read to its end is JSON, also where it is read as a whole.
func FuzzReader(f *testing.F) {
	f.Add(`{"a":[1,"b",true,{}],"c\u00e9":-0.1e5}`)
	f.Add(`[[],"\ud800"]`)
	f.Fuzz(func(t *testing.T, text string) {
		r := New(text)
		if whole(&r); r.Ended() && !json.Valid([]byte(text)) {
			t.Errorf("%q is no JSON", text)
		}
		r = New(text)
		if r.Raw(); r.Ended() && !json.Valid([]byte(text)) {
			t.Errorf("%q is no JSON as a whole", text)
		}
	})
}
