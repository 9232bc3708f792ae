// Package packed keeps the definitions of custom resources small while they lie in memory. Nearly all of one is its
// schemas, which decoded take four times the room of their text and are looked at when the kind is first used, if
// ever: a cluster has hundreds of definitions. What is stored is packed, what somebody is to read or change is opened.
//
// A packed definition is of the same Go type as an open one, so that everything that is not about schemas reads it as
// it is: names, status, metadata.
package packed

import (
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"clipper/api"
)

// worthwhile is the encoded size from which a schema is packed.
const worthwhile = 1 << 10

// mark begins the default of a packed schema, which says nothing else. No default begins so: none would be JSON, and
// validation lets nothing else in.
const mark = 0xff

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

func isPacked(s *apiextensionsv1.JSONSchemaProps) bool {
	return s.Default != nil && len(s.Default.Raw) > 0 && s.Default.Raw[0] == mark
}

// pack returns nil for what is packed already, or too small.
func pack(s *apiextensionsv1.JSONSchemaProps) *apiextensionsv1.JSONSchemaProps {
	if isPacked(s) {
		return nil
	}
	data, err := s.Marshal()
	if err != nil || len(data) < worthwhile {
		return nil // what has no such form cannot be written to the log either, which says so
	}
	tight := s2.EncodeBetter(nil, data)
	raw := make([]byte, 0, 1+len(tight)) // the encoder's own buffer is as large as the worst case
	return &apiextensionsv1.JSONSchemaProps{Default: &apiextensionsv1.JSON{Raw: append(append(raw, mark), tight...)}}
}

// open returns nil for what is not packed.
func open(s *apiextensionsv1.JSONSchemaProps) *apiextensionsv1.JSONSchemaProps {
	if !isPacked(s) {
		return nil
	}
	out := &apiextensionsv1.JSONSchemaProps{}
	data, err := s2.Decode(nil, s.Default.Raw[1:])
	if err == nil {
		err = out.Unmarshal(data)
	}
	if err != nil {
		panic(fmt.Errorf("open a packed schema: %w", err)) // pack made it, and nobody may change it
	}
	return out
}
