package packed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"clipper/api"
)

// JSON returns the JSON form of what Open would return; ok is false, and nothing is done, where nothing is packed.
func JSON(obj api.Object) (data []byte, ok bool, err error) {
	if !Is(obj) {
		return nil, false, nil
	}
	cut, texts, err := Cut(obj.(*apiextensionsv1.CustomResourceDefinition))
	if err != nil {
		return nil, true, err
	}
	if data, err = json.Marshal(cut); err != nil {
		return nil, true, err
	}
	data, err = texts.Insert(data)
	return data, true, err
}

// Texts are the schemas that were cut out of a definition, as JSON.
type Texts [][]byte

// A definition without its schemas has others, which name their texts by number. Nothing else in it is JSON of its
// writer's, so that what they look like occurs nowhere else: in texts, quotes are escaped, and the paths in managed
// fields are no such pairs.
const (
	beforeNumber = `{"id":"schema `
	afterNumber  = `"}`
)

// Cut returns a copy of d without its schemas, for encoders that know nothing of packed ones, and these. Schemas that are
// the same are in the copy, too.
func Cut(d *apiextensionsv1.CustomResourceDefinition) (*apiextensionsv1.CustomResourceDefinition, Texts, error) {
	var texts Texts
	c := *d
	c.Spec.Versions = slices.Clone(d.Spec.Versions)
	for i := range c.Spec.Versions {
		v := &c.Spec.Versions[i]
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		text, err := Text(v.Schema.OpenAPIV3Schema)
		if err != nil {
			return nil, nil, fmt.Errorf("schema of version %s: %w", v.Name, err)
		}
		n := slices.IndexFunc(texts, func(t []byte) bool { return bytes.Equal(t, text) })
		if n < 0 {
			n, texts = len(texts), append(texts, text)
		}
		v.Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{ID: "schema " + strconv.Itoa(n)}}
	}
	return &c, texts, nil
}

// Insert puts the schemas into data, the JSON form of the copy, where they were cut out.
func (t Texts) Insert(data []byte) ([]byte, error) {
	size := len(data)
	for _, text := range t {
		size += len(text)
	}
	out := make([]byte, 0, size)
	for {
		before, rest, found := bytes.Cut(data, []byte(beforeNumber))
		out = append(out, before...)
		if !found {
			return out, nil
		}
		number, rest, _ := bytes.Cut(rest, []byte(afterNumber))
		n, err := strconv.Atoi(string(number))
		if err != nil || n < 0 || n >= len(t) {
			return nil, fmt.Errorf("there is no schema %q", number)
		}
		out, data = append(out, t[n]...), rest
	}
}
