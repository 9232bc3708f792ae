package ownership

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// An orderly converter shows the library maps in the order of their keys, and if lists is set lists in the order of
// their items' names. The library keeps sets as sorted slices and inserts one member after the other: in any other
// order that is quadratic in the members of one place, a minute of a core for the largest objects. What differs between
// two states does not depend on the order of lists; what an apply makes of them does.
type orderly struct {
	managedfields.TypeConverter
	lists bool
}

// ObjectToTyped implements managedfields.TypeConverter.
func (c orderly) ObjectToTyped(obj runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	nothing := &unstructured.Unstructured{Object: map[string]any{}}
	nothing.SetGroupVersionKind(obj.GetObjectKind().GroupVersionKind())
	kind, err := c.TypeConverter.ObjectToTyped(nothing)
	if err != nil {
		return nil, err
	}
	var v value.Value
	if u, ok := obj.(*unstructured.Unstructured); ok {
		v = value.NewValueInterface(u.UnstructuredContent())
	} else if v, err = value.NewValueReflect(obj); err != nil {
		return nil, err
	}
	o := &ordering{schema: kind.Schema(), lists: c.lists}
	return typed.AsTyped(o.of(v, kind.TypeRef()), kind.Schema(), kind.TypeRef(), options...)
}

// An ordering is what all values of an object have in common.
type ordering struct {
	schema *schema.Schema
	lists  bool
}

// of returns v in order, if its parts are owned apart. What is owned as a whole stays what it is.
func (o *ordering) of(v value.Value, ref schema.TypeRef) value.Value {
	if v == nil || !v.IsMap() && !v.IsList() {
		return v
	}
	if _, ok := v.(ordered); ok {
		return v
	}
	atom, ok := o.schema.Resolve(ref)
	switch {
	case !ok,
		v.IsMap() && (atom.Map == nil || atom.Map.ElementRelationship == schema.Atomic),
		v.IsList() && (atom.List == nil || atom.List.ElementRelationship != schema.Associative):
		return v
	}
	return ordered{v, o, atom}
}

// An ordered value is a map whose members come in the order of their keys, or an associative list whose items come in the
// order of their names.
type ordered struct {
	value.Value
	in   *ordering
	atom schema.Atom
}

func (v ordered) AsMap() value.Map                       { return orderedMap{v.Value.AsMap(), v.in, v.atom.Map} }
func (v ordered) AsMapUsing(value.Allocator) value.Map   { return v.AsMap() }
func (v ordered) AsListUsing(value.Allocator) value.List { return v.AsList() }

func (v ordered) AsList() value.List {
	raw := v.Value.AsList()
	n := raw.Length()
	if n == 0 {
		return raw
	}
	l := orderedList{List: raw, items: make([]value.Value, n)}
	for i := range n {
		l.items[i] = v.in.of(raw.At(i), v.atom.List.ElementType)
	}
	if v.in.lists {
		v.in.sort(l.items, v.atom.List)
	}
	return l
}

// sort orders the items of a list. Those of the same name are compared in the order that they have.
func (o *ordering) sort(items []value.Value, l *schema.List) {
	type named struct {
		name fieldpath.PathElement
		item value.Value
	}
	all := make([]named, len(items))
	for i, item := range items {
		all[i] = named{o.name(item, l), item}
	}
	slices.SortStableFunc(all, func(x, y named) int { return x.name.Compare(y.name) })
	for i := range all {
		items[i] = all[i].item
	}
}

// name is what the library calls an item. What it refuses to name is nameless here, too.
func (o *ordering) name(item value.Value, l *schema.List) (pe fieldpath.PathElement) {
	if len(l.Keys) == 0 {
		pe.Value = &item
		return pe
	}
	if !item.IsMap() {
		return pe
	}
	fields := item.AsMap()
	keys := make(value.FieldList, 0, len(l.Keys))
	for _, name := range l.Keys {
		if v, ok := fields.Get(name); ok {
			keys = append(keys, value.Field{Name: name, Value: v})
		} else if v := o.fallback(l, name); v != nil {
			keys = append(keys, value.Field{Name: name, Value: value.NewValueInterface(v)})
		}
	}
	keys.Sort()
	pe.Key = &keys
	return pe
}

// fallback is the default of a key.
func (o *ordering) fallback(l *schema.List, name string) any {
	item, ok := o.schema.Resolve(l.ElementType)
	if !ok || item.Map == nil {
		return nil
	}
	f, _ := item.Map.FindField(name)
	return f.Default
}

type orderedList struct {
	value.List
	items []value.Value
}

func (l orderedList) At(i int) value.Value                         { return l.items[i] }
func (l orderedList) AtUsing(_ value.Allocator, i int) value.Value { return l.items[i] }

// EqualsUsing compares as the library does: its lists know their own kind.
func (l orderedList) EqualsUsing(a value.Allocator, other value.List) bool {
	if o, ok := other.(orderedList); ok {
		other = o.List
	}
	return l.List.EqualsUsing(a, other)
}

type orderedMap struct {
	value.Map
	in      *ordering
	members *schema.Map
}

// EqualsUsing compares as the library does: its maps know their own kind.
func (m orderedMap) EqualsUsing(a value.Allocator, other value.Map) bool {
	return m.Map.EqualsUsing(a, unordered(other))
}

func (m orderedMap) Get(key string) (value.Value, bool) {
	v, ok := m.Map.Get(key)
	return m.member(key, v), ok
}

func (m orderedMap) GetUsing(_ value.Allocator, key string) (value.Value, bool) { return m.Get(key) }

func (m orderedMap) member(key string, v value.Value) value.Value {
	if f, ok := m.members.FindField(key); ok {
		return m.in.of(v, f.Type)
	}
	return m.in.of(v, m.members.ElementType)
}

func (m orderedMap) Iterate(visit func(string, value.Value) bool) bool {
	return m.IterateUsing(value.HeapAllocator, visit)
}

func (m orderedMap) IterateUsing(_ value.Allocator, visit func(string, value.Value) bool) bool {
	for _, key := range keysOf(m.Map) {
		v, _ := m.Get(key)
		if !visit(key, v) {
			return false
		}
	}
	return true
}

func (m orderedMap) Zip(other value.Map, order value.MapTraverseOrder, visit func(string, value.Value, value.Value) bool) bool {
	return m.ZipUsing(value.HeapAllocator, other, order, visit)
}

// ZipUsing goes through two maps at once. The other's members are put in order as well, although the library made it.
func (m orderedMap) ZipUsing(_ value.Allocator, other value.Map, _ value.MapTraverseOrder, visit func(string, value.Value, value.Value) bool) bool {
	for _, key := range keysOf(m.Map, unordered(other)) {
		mine, _ := m.Get(key)
		var its value.Value
		if other != nil {
			v, _ := other.Get(key)
			its = m.member(key, v)
		}
		if !visit(key, mine, its) {
			return false
		}
	}
	return true
}

// keysOf are the keys of the maps that there are, in order.
func keysOf(those ...value.Map) (keys []string) {
	for _, m := range those {
		if m != nil {
			m.Iterate(func(key string, _ value.Value) bool {
				keys = append(keys, key)
				return true
			})
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// unordered is the map below an ordered one.
func unordered(m value.Map) value.Map {
	if o, ok := m.(orderedMap); ok {
		return o.Map
	}
	return m
}
