// Package mergetype is the file form of structured-merge types. The library's own types embed pointers
// with equal field names, which encoding/json would drop; these spell them out and keep names short.
package mergetype

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/runtime/schema"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// A File holds all types by model name, each still encoded, and the model name of every kind by KindKey.
type File struct {
	Kinds map[string]string          `json:"kinds"`
	Types map[string]json.RawMessage `json:"types"`
}

// KindKey returns the key of a kind in File.Kinds.
func KindKey(gvk schema.GroupVersionKind) string {
	return gvk.Group + "/" + gvk.Version + "/" + gvk.Kind
}

// A Type is one structured-merge atom: exactly one field is set.
type Type struct {
	Scalar *string `json:"s,omitempty"`
	List   *List   `json:"l,omitempty"`
	Map    *Map    `json:"m,omitempty"`
}

// A List is a list atom.
type List struct {
	Element Ref      `json:"e"`
	Rel     string   `json:"r,omitempty"` // separable, atomic, associative
	Keys    []string `json:"k,omitempty"`
}

// A Map is a map or struct atom.
type Map struct {
	Fields  []Field `json:"f,omitempty"`
	Element Ref     `json:"e,omitzero"`
	Rel     string  `json:"r,omitempty"`
}

// A Field is a field of a struct.
type Field struct {
	Name    string `json:"n"`
	Type    Ref    `json:"t"`
	Default any    `json:"d,omitempty"`
}

// A Ref is a reference by name or an inlined type.
type Ref struct {
	Name    *string `json:"n,omitempty"`
	Inlined *Type   `json:"i,omitempty"`
	Rel     *string `json:"r,omitempty"`
}

// FromAtom returns the file form of a.
func FromAtom(a smdschema.Atom) Type {
	var t Type
	if a.Scalar != nil {
		s := string(*a.Scalar)
		t.Scalar = &s
	}
	if a.List != nil {
		t.List = &List{Element: fromRef(a.List.ElementType), Rel: string(a.List.ElementRelationship), Keys: a.List.Keys}
	}
	if a.Map != nil {
		t.Map = &Map{Element: fromRef(a.Map.ElementType), Rel: string(a.Map.ElementRelationship)}
		for _, f := range a.Map.Fields {
			t.Map.Fields = append(t.Map.Fields, Field{Name: f.Name, Type: fromRef(f.Type), Default: f.Default})
		}
	}
	return t
}

func fromRef(r smdschema.TypeRef) Ref {
	out := Ref{Name: r.NamedType, Rel: (*string)(r.ElementRelationship)}
	if r.Inlined != (smdschema.Atom{}) {
		t := FromAtom(r.Inlined)
		out.Inlined = &t
	}
	return out
}

// Atom returns the library's form of t.
func (t Type) Atom() smdschema.Atom {
	var a smdschema.Atom
	if t.Scalar != nil {
		a.Scalar = (*smdschema.Scalar)(t.Scalar)
	}
	if t.List != nil {
		a.List = &smdschema.List{ElementType: t.List.Element.ref(), ElementRelationship: smdschema.ElementRelationship(t.List.Rel), Keys: t.List.Keys}
	}
	if t.Map != nil {
		a.Map = &smdschema.Map{ElementType: t.Map.Element.ref(), ElementRelationship: smdschema.ElementRelationship(t.Map.Rel)}
		for _, f := range t.Map.Fields {
			a.Map.Fields = append(a.Map.Fields, smdschema.StructField{Name: f.Name, Type: f.Type.ref(), Default: f.Default})
		}
	}
	return a
}

func (r Ref) ref() smdschema.TypeRef {
	out := smdschema.TypeRef{NamedType: r.Name, ElementRelationship: (*smdschema.ElementRelationship)(r.Rel)}
	if r.Inlined != nil {
		out.Inlined = r.Inlined.Atom()
	}
	return out
}

// EachName calls fn with every model name that t refers to.
func (t Type) EachName(fn func(name string)) {
	if t.List != nil {
		t.List.Element.eachName(fn)
	}
	if t.Map != nil {
		t.Map.Element.eachName(fn)
		for _, f := range t.Map.Fields {
			f.Type.eachName(fn)
		}
	}
}

func (r Ref) eachName(fn func(string)) {
	if r.Name != nil {
		fn(*r.Name)
	}
	if r.Inlined != nil {
		r.Inlined.EachName(fn)
	}
}
