package ownership

import (
	"reflect"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// A node says how two values of one Go type are compared under one type of the merge schema.
type node struct {
	form   form
	plain  bool       // of a leaf: its Go kind alone decides how to compare it, after a pointer perhaps
	fields []field    // of a struct
	elem   *node      // of a map or list
	keys   []keyField // of a list of structs; a list without is a set
}

type form uint8

const (
	formUnknown form = iota // type and schema do not tell what the library does
	formLeaf                // a scalar, or something that is owned as a whole
	formStruct              // each field has owners
	formMap                 // each entry has
	formList                // each item has
)

type field struct {
	*value.FieldCacheEntry
	node *node
}

// A keyField is one of the fields that tell an associative list's items apart.
type keyField struct {
	*value.FieldCacheEntry
	fallback    string // the schema's default
	hasFallback bool
}

// A planner makes nodes and shares them: a type of one name is the same in every kind's schema.
type planner struct {
	mu    sync.Mutex
	known map[named]*node
}

type named struct {
	goType       reflect.Type
	name         string
	relationship schema.ElementRelationship
}

// plan returns how objects of a Go type are compared; nil if that cannot be told at all.
func (p *planner) plan(t reflect.Type, s *schema.Schema, ref schema.TypeRef) *node {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[named]*node{}
	}
	root := planning{p.known, s}.node(t, ref)
	if root.form != formStruct {
		return nil
	}
	// Both states have the same kind and version, whatever their fields say.
	top := root.without("kind", "apiVersion")
	for i, f := range top.fields {
		if f.JsonName == "metadata" {
			// Of managedFields only their presence counts here: the new state has none yet, and what the
			// old one has is part of the question anyway.
			meta := f.node.without("managedFields")
			for _, m := range f.node.fields {
				if m.JsonName == "managedFields" {
					meta.fields = append(meta.fields, field{m.FieldCacheEntry, &node{form: formLeaf}})
				}
			}
			top.fields[i].node = meta
		}
	}
	return top
}

// without returns a copy of a struct's node that leaves some fields out.
func (n *node) without(names ...string) *node {
	c := *n
	c.fields = slices.DeleteFunc(slices.Clone(n.fields), func(f field) bool { return slices.Contains(names, f.JsonName) })
	return &c
}

// A planning is the making of one kind's plan.
type planning struct {
	known  map[named]*node
	schema *schema.Schema
}

func (p planning) node(t reflect.Type, ref schema.TypeRef) *node {
	n := &node{}
	if ref.NamedType != nil {
		name := named{goType: t, name: *ref.NamedType}
		if ref.ElementRelationship != nil {
			name.relationship = *ref.ElementRelationship
		}
		if have := p.known[name]; have != nil {
			return have // not filled yet, if the type refers to itself
		}
		p.known[name] = n
	}
	if atom, ok := p.schema.Resolve(ref); ok {
		p.fill(n, t, atom)
	}
	return n
}

func (p planning) fill(n *node, t reflect.Type, atom schema.Atom) {
	base := target(t)
	oneForm := atom.Scalar == nil && (atom.Map == nil || atom.List == nil)
	switch {
	case isLeaf(atom), atom.Scalar != nil && slices.Contains(scalars, base):
		if !p.refusable(t, atom, map[reflect.Type]bool{}) {
			n.form, n.plain = formLeaf, isPlain(t)
		}
	case converts(t) || !oneForm: // what is in it only its own code knows
	case atom.Map != nil && base.Kind() == reflect.Struct:
		p.fillStruct(n, base, atom.Map)
	case atom.Map != nil && base.Kind() == reflect.Map && base.Key().Kind() == reflect.String && len(atom.Map.Fields) == 0:
		n.form, n.elem = formMap, p.node(base.Elem(), atom.Map.ElementType)
	case atom.List != nil && base.Kind() == reflect.Slice:
		p.fillList(n, base.Elem(), atom.List)
	}
}

// target is what a pointer points to; other types are themselves.
func target(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// converts says whether values of a type are turned into JSON by code of their own.
func converts(t reflect.Type) bool { return value.TypeReflectEntryOf(t).CanConvertToUnstructured() }

// scalars are those of them that always turn into a scalar or null.
var scalars = []reflect.Type{
	reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime](), reflect.TypeFor[metav1.Duration](),
	reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString](),
}

// isLeaf says whether values are owned as a whole, whichever of its forms they have.
func isLeaf(a schema.Atom) bool {
	return (a.Map == nil || a.Map.ElementRelationship == schema.Atomic) &&
		(a.List == nil || a.List.ElementRelationship == schema.Atomic) &&
		(a.Map != nil || a.List != nil || a.Scalar != nil)
}

func isPlain(t reflect.Type) bool {
	if converts(t) {
		return false
	}
	k := target(t).Kind()
	return k == reflect.String || k == reflect.Bool || reflect.Int <= k && k <= reflect.Int64 || reflect.Uint8 <= k && k <= reflect.Uint32
}

func (p planning) fillStruct(n *node, t reflect.Type, m *schema.Map) {
	n.form = formStruct
	for _, e := range value.TypeReflectEntryOf(t).OrderedFields() {
		ref := m.ElementType
		if f, ok := m.FindField(e.JsonName); ok {
			ref = f.Type
		}
		n.fields = append(n.fields, field{e, p.node(typeOf(t, e), ref)})
	}
}

// typeOf returns the Go type of one of t's fields.
func typeOf(t reflect.Type, e *value.FieldCacheEntry) reflect.Type {
	return e.GetFrom(reflect.New(t).Elem()).Type()
}

func (p planning) fillList(n *node, item reflect.Type, l *schema.List) {
	elem := p.node(item, l.ElementType)
	if len(l.Keys) == 0 {
		if elem.plain && item.Kind() != reflect.Pointer {
			n.form, n.elem = formList, elem
		}
		return
	}
	if keys, ok := p.keys(target(item), l); ok {
		n.form, n.elem, n.keys = formList, elem, keys
	}
}

// keys returns the key fields of a list's items; false if they are not all plain.
func (p planning) keys(t reflect.Type, l *schema.List) ([]keyField, bool) {
	item, ok := p.schema.Resolve(l.ElementType)
	if !ok || item.Map == nil || t.Kind() != reflect.Struct {
		return nil, false
	}
	var keys []keyField
	for _, name := range l.Keys {
		e := value.TypeReflectEntryOf(t).Fields()[name]
		if e == nil || !isPlain(typeOf(t, e)) {
			return nil, false
		}
		k := keyField{FieldCacheEntry: e}
		mayLack := k.CanOmit(k.GetFrom(reflect.New(t).Elem()))
		if f, ok := item.Map.FindField(name); ok && f.Default != nil && mayLack {
			k.fallback, k.hasFallback = f.Default.(string)
			if !k.hasFallback || target(typeOf(t, e)).Kind() != reflect.String {
				return nil, false
			}
		}
		keys = append(keys, k)
	}
	return keys, true
}

// refusable says whether the library may refuse an object for the content of a leaf, which comparing the
// leaf would not show: content that is not of the schema's form, and items without keys in lists within.
func (p planning) refusable(t reflect.Type, atom schema.Atom, seen map[reflect.Type]bool) bool {
	if converts(t) {
		return !slices.Contains(scalars, target(t)) && (atom.Map == nil || atom.List == nil || atom.Scalar == nil)
	}
	if t = target(t); seen[t] {
		return false
	}
	seen[t] = true
	inside := func(t reflect.Type, ref schema.TypeRef) bool {
		atom, ok := p.schema.Resolve(ref)
		return ok && p.refusable(t, atom, seen)
	}
	switch {
	case atom.Map != nil && t.Kind() == reflect.Struct:
		return slices.ContainsFunc(value.TypeReflectEntryOf(t).OrderedFields(), func(e *value.FieldCacheEntry) bool {
			f, ok := atom.Map.FindField(e.JsonName)
			return ok && inside(typeOf(t, e), f.Type)
		})
	case atom.Map != nil && t.Kind() == reflect.Map:
		return inside(t.Elem(), atom.Map.ElementType)
	case atom.List != nil && t.Kind() == reflect.Slice:
		return p.mayLackKeys(t.Elem(), atom.List) || inside(t.Elem(), atom.List.ElementType)
	}
	return false
}

func (p planning) mayLackKeys(item reflect.Type, l *schema.List) bool {
	if l.ElementRelationship != schema.Associative {
		return false
	}
	if len(l.Keys) == 0 {
		return item.Kind() == reflect.Pointer
	}
	keys, ok := p.keys(item, l) // not of pointers: one may be nil
	return !ok || !slices.ContainsFunc(keys, func(k keyField) bool {
		return k.hasFallback || !k.CanOmit(k.GetFrom(reflect.New(item).Elem()))
	})
}
