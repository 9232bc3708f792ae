// Package packed keeps the definitions of custom resources small while they lie in memory. Nearly all of one is its
// schemas, which decoded take four times the room of their text and are looked at when the kind is first used, if
// ever: a cluster has hundreds of definitions. What is stored is packed, what somebody is to read or change is opened.
//
// A packed definition is of the same Go type as an open one, so that everything that is not about schemas reads it as
// it is: names, status, metadata. A packed schema is its JSON text, compressed: that is what definitions are written as,
// to the log and to most clients, and so they need not be opened for it.
package packed

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"clipper/api"
)

// worthwhile is the size of the text from which a schema is packed.
const worthwhile = 1 << 10

// longest is the size of the longest text that is opened: more than any request may have.
const longest = 64 << 20

// mark is the ID of a packed schema, whose description is the compressed text. It is no UTF-8, so that no JSON says it, and
// validation lets no ID in at all.
const mark = "\xff"

// Pack returns obj in the form that it is to be kept in. The same definition always becomes the same. Objects of other
// kinds, and small ones, come back themselves.
func Pack(obj api.Object) api.Object {
	d, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return obj
	}
	return withSchemas(d, pack)
}

// Open returns obj as somebody wrote it. The result is read-only where obj is.
func Open(obj api.Object) api.Object {
	d, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return obj
	}
	return withSchemas(d, open)
}

// Is says whether obj has anything to open.
func Is(obj api.Object) bool {
	d, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	return ok && slices.ContainsFunc(d.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Schema != nil && v.Schema.OpenAPIV3Schema != nil && isPacked(v.Schema.OpenAPIV3Schema)
	})
}

// Schema returns the open schema of a version; nil if it has none.
func Schema(v *apiextensionsv1.CustomResourceDefinitionVersion) *apiextensionsv1.JSONSchemaProps {
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		return nil
	}
	if s := open(v.Schema.OpenAPIV3Schema); s != nil {
		return s
	}
	return v.Schema.OpenAPIV3Schema
}

// Text returns the JSON text of a schema, packed or not.
func Text(s *apiextensionsv1.JSONSchemaProps) ([]byte, error) {
	if isPacked(s) {
		return text(s)
	}
	return json.Marshal(s)
}

// withSchemas returns d with every schema replaced by what fn makes of it, nil where it is to stay. d is not changed.
func withSchemas(d *apiextensionsv1.CustomResourceDefinition, fn func(*apiextensionsv1.JSONSchemaProps) *apiextensionsv1.JSONSchemaProps) *apiextensionsv1.CustomResourceDefinition {
	out := d
	for i, v := range d.Spec.Versions {
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		s := fn(v.Schema.OpenAPIV3Schema)
		if s == nil {
			continue
		}
		if out == d {
			c := *d
			c.Spec.Versions = slices.Clone(d.Spec.Versions)
			out = &c
		}
		out.Spec.Versions[i].Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: s}
	}
	return out
}

func isPacked(s *apiextensionsv1.JSONSchemaProps) bool { return s.ID == mark }

// pack returns nil for what is packed already, or too small.
func pack(s *apiextensionsv1.JSONSchemaProps) *apiextensionsv1.JSONSchemaProps {
	if isPacked(s) {
		return nil
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil // what has no such form cannot be written to the log either, which says so
	}
	return PackText(data)
}

// PackText packs a schema, given its JSON text; nil if that is too small.
func PackText(text []byte) *apiextensionsv1.JSONSchemaProps {
	if len(text) < worthwhile {
		return nil
	}
	return &apiextensionsv1.JSONSchemaProps{ID: mark, Description: string(s2.EncodeBetter(nil, text))}
}

// open returns nil for what is not packed, and for what only looks so: a client may have sent that in protobuf, and
// validation refuses it.
func open(s *apiextensionsv1.JSONSchemaProps) *apiextensionsv1.JSONSchemaProps {
	if !isPacked(s) {
		return nil
	}
	data, err := text(s)
	if err != nil {
		return nil
	}
	out, err := read(data)
	if err != nil {
		return nil
	}
	return out
}

func text(s *apiextensionsv1.JSONSchemaProps) ([]byte, error) {
	packed := []byte(s.Description)
	switch n, err := s2.DecodedLen(packed); {
	case err != nil:
		return nil, fmt.Errorf("open a packed schema: %w", err)
	case n > longest:
		return nil, fmt.Errorf("open a packed schema: it says that it is %d bytes long", n)
	}
	return s2.Decode(nil, packed)
}
