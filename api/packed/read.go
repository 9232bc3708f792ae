package packed

import (
	"encoding/json"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"clipper/api/jsonscan"
)

// read reads the JSON text of a schema. The library reads a part of a schema once more for every list that the part is in,
// and makes a string of each name: this takes a third of the time for what is written in the usual way, and leaves
// everything else to the library.
func read(text []byte) (*apiextensionsv1.JSONSchemaProps, error) {
	r := reader{Reader: jsonscan.New(string(text))}
	out := &apiextensionsv1.JSONSchemaProps{}
	if r.schema(out); r.Ended() {
		return out, nil
	}
	out = &apiextensionsv1.JSONSchemaProps{}
	return out, json.Unmarshal(text, out)
}

// IsSchema says whether a valid JSON text is a schema's: of a stored definition that is all there is to look at before somebody
// asks for it.
func IsSchema(text []byte) bool {
	r := reader{Reader: jsonscan.New(string(text))}
	r.Checking = true
	if r.schema(&apiextensionsv1.JSONSchemaProps{}); r.Ended() {
		return true
	}
	return json.Unmarshal(text, &apiextensionsv1.JSONSchemaProps{}) == nil
}

// deepest is how many schemas may be in one another: what is deeper is unusual enough.
const deepest = 200

// A reader reads schemas.
type reader struct {
	jsonscan.Reader
	depth int
}

// value reads a value of the user's.
func (r *reader) value() apiextensionsv1.JSON {
	if raw := r.Raw(); string(raw) != "null" {
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
		r.Fail()
	}
	out := []T{}
	for more := r.Open('[', ']'); more; more = r.More(']') {
		if v := element(); !r.Checking {
			out = append(out, v)
		}
	}
	if r.Checking {
		return nil
	}
	return out
}
