package ownership

import (
	"bytes"
	"encoding/binary"
	"maps"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

const (
	maxTrace = 64 << 10 // a longer trace is not worth its digest
	maxItems = 128      // in both states of a list: items find each other by looking at all
)

// A tracer writes down where two states of an object differ: for each place whether it was added, removed
// or modified, and of values only those that are part of a place's name, which are the keys of maps and
// associative lists. Two pairs of states with the same trace have the same sets of added, removed and
// modified fields. Places where nothing differs leave no trace.
type tracer struct {
	out   []byte
	lost  bool // something cannot be written down exactly
	names []byte
	items []item // a stack: lists lie within lists
	keys  []string
}

// An item is one of a list's, with its name in names[from:to].
type item struct {
	value    reflect.Value
	from, to int
}

func (t *tracer) reset() {
	t.out, t.names, t.lost = t.out[:0], t.names[:0], false
	clear(t.items)
	t.items, t.keys = t.items[:0], t.keys[:0]
}

// A state is all that counts about a value that is compared part by part.
type state byte

const (
	absent state = iota
	null
	empty
	filled
)

// Marks of leaves; never 0, which ends a list of parts.
const (
	added byte = 1 + iota
	removed
	modified
)

// compare traces one place. The zero reflect.Value means that there is nothing.
func (t *tracer) compare(n *node, old, new reflect.Value) {
	if len(t.out) > maxTrace {
		t.lost = true
	}
	if t.lost {
		return
	}
	switch n.form {
	case formUnknown:
		t.lost = true
		return
	case formLeaf:
		t.leaf(n, old, new)
		return
	}
	old, new = dereference(old), dereference(new)
	start := len(t.out)
	t.out = append(t.out, 0, 0) // for both states
	var before, after state
	switch n.form {
	case formStruct:
		before, after = t.structs(n, old, new)
	case formMap:
		before, after = stateOf(old), stateOf(new)
		t.maps(n, old, new)
	case formList:
		before, after = stateOf(old), stateOf(new)
		t.lists(n, old, new)
	}
	if before == after && len(t.out) == start+2 {
		t.out = t.out[:start]
		return
	}
	t.out[start], t.out[start+1] = byte(before)+1, byte(after)+1
	t.out = append(t.out, 0)
}

func (t *tracer) leaf(n *node, old, new reflect.Value) {
	switch {
	case !old.IsValid():
		t.out = append(t.out, added)
	case !new.IsValid():
		t.out = append(t.out, removed)
	default:
		equal, ok := same(n, old, new)
		if !ok {
			t.lost = true
		} else if !equal {
			t.out = append(t.out, modified)
		}
	}
}

// dereference follows one pointer, as the library does; a nil one stays.
func dereference(v reflect.Value) reflect.Value {
	if v.IsValid() && v.Kind() == reflect.Pointer && !v.IsNil() {
		return v.Elem()
	}
	return v
}

func isNull(v reflect.Value) bool { return v.Kind() == reflect.Pointer }

// stateOf is for maps and lists, dereferenced.
func stateOf(v reflect.Value) state {
	switch {
	case !v.IsValid():
		return absent
	case isNull(v), v.IsNil():
		return null
	case v.Len() == 0:
		return empty
	}
	return filled
}

// structs traces each field. A field that would not be in the JSON is not there.
func (t *tracer) structs(n *node, old, new reflect.Value) (before, after state) {
	before, after = structState(old), structState(new)
	for i := range n.fields {
		f := &n.fields[i]
		var o, w reflect.Value
		if before >= empty {
			if v := f.GetFrom(old); !f.CanOmit(v) {
				o, before = v, filled
			}
		}
		if after >= empty {
			if v := f.GetFrom(new); !f.CanOmit(v) {
				w, after = v, filled
			}
		}
		if !o.IsValid() && !w.IsValid() {
			continue
		}
		start := len(t.out)
		t.out = binary.AppendUvarint(t.out, uint64(i+1))
		t.part(start, f.node, o, w)
	}
	return before, after
}

// structState is empty until a field is found.
func structState(v reflect.Value) state {
	switch {
	case !v.IsValid():
		return absent
	case isNull(v):
		return null
	}
	return empty
}

// part traces a place whose name has been written at start, and takes the name back if nothing differs.
func (t *tracer) part(start int, n *node, old, new reflect.Value) {
	named := len(t.out)
	if t.compare(n, old, new); len(t.out) == named {
		t.out = t.out[:start]
	}
}

func (t *tracer) maps(n *node, old, new reflect.Value) {
	first := len(t.keys)
	if stateOf(new) == filled {
		t.addKeys(new, reflect.Value{})
	}
	if stateOf(old) == filled {
		t.addKeys(old, new)
	}
	slices.Sort(t.keys[first:])
	for i := first; i < len(t.keys); i++ { // not a slice of it: maps lie within maps
		key := t.keys[i]
		start := len(t.out)
		t.out = appendText(append(t.out, 1), key)
		t.part(start, n.elem, entry(old, key), entry(new, key))
	}
	t.keys = t.keys[:first]
}

// addKeys notes the keys of m that other does not have.
func (t *tracer) addKeys(m, other reflect.Value) {
	if plain, ok := m.Interface().(map[string]string); ok && !other.IsValid() {
		t.keys = slices.AppendSeq(t.keys, maps.Keys(plain))
		return
	}
	for it := m.MapRange(); it.Next(); {
		if stateOf(other) != filled || !other.MapIndex(it.Key()).IsValid() {
			t.keys = append(t.keys, it.Key().String())
		}
	}
}

func entry(m reflect.Value, key string) reflect.Value {
	if stateOf(m) != filled {
		return reflect.Value{}
	}
	return m.MapIndex(reflect.ValueOf(key).Convert(m.Type().Key()))
}

// lists traces the items, which are known by their keys, or are the members of a set.
func (t *tracer) lists(n *node, old, new reflect.Value) {
	names, first := len(t.names), len(t.items)
	t.addItems(n, new)
	middle := len(t.items)
	t.addItems(n, old)
	last := len(t.items)
	for i := first; i < middle && !t.lost; i++ {
		t.item(n, t.items[i], t.find(t.items[i], middle, last, i-first), true)
	}
	for i := middle; i < last && !t.lost; i++ {
		if !t.find(t.items[i], first, middle, i-middle).IsValid() {
			t.item(n, t.items[i], reflect.Value{}, false)
		}
	}
	clear(t.items[first:])
	t.items, t.names = t.items[:first], t.names[:names]
}

func (t *tracer) item(n *node, it item, other reflect.Value, isNew bool) {
	start := len(t.out)
	t.out = binary.AppendUvarint(t.out, uint64(it.to-it.from+1))
	t.out = append(t.out, t.names[it.from:it.to]...)
	if isNew {
		t.part(start, n.elem, other, it.value)
	} else {
		t.part(start, n.elem, it.value, other)
	}
}

// addItems puts a list's items on the stack. Items of the same name are compared in a way of their own.
func (t *tracer) addItems(n *node, list reflect.Value) {
	if stateOf(list) != filled {
		return
	}
	if list.Len() > maxItems {
		t.lost = true
		return
	}
	first := len(t.items)
	for i := range list.Len() {
		it := item{value: list.Index(i), from: len(t.names)}
		if !t.name(n, it.value) {
			t.lost = true
			return
		}
		it.to = len(t.names)
		if t.find(it, first, len(t.items), 0).IsValid() {
			t.lost = true
			return
		}
		t.items = append(t.items, it)
	}
}

// find returns the item of the same name between from and to; it looks at the likely place first.
func (t *tracer) find(it item, from, to, likely int) reflect.Value {
	name := t.names[it.from:it.to]
	for i := from; i < to; i++ {
		at := from + (likely+i-from)%(to-from)
		if o := t.items[at]; bytes.Equal(t.names[o.from:o.to], name) {
			return o.value
		}
	}
	return reflect.Value{}
}

// name appends what tells an item from the others of its list.
func (t *tracer) name(n *node, v reflect.Value) bool {
	if len(n.keys) == 0 {
		t.names = appendPlain(t.names, v)
		return true
	}
	if v = dereference(v); isNull(v) {
		return false
	}
	some := false
	for i := range n.keys {
		k := &n.keys[i]
		switch f := k.GetFrom(v); {
		case !k.CanOmit(f):
			t.names, some = appendPlain(t.names, dereference(f)), true
		case k.hasFallback:
			t.names, some = appendText(append(t.names, 's'), k.fallback), true
		default:
			t.names = append(t.names, 'o')
		}
	}
	return some
}

func appendPlain(dst []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.String:
		return appendText(append(dst, 's'), v.String())
	case reflect.Bool:
		return append(dst, 'b', flag(v.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return binary.AppendVarint(append(dst, 'i'), v.Int())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return binary.AppendUvarint(append(dst, 'u'), v.Uint())
	}
	return append(dst, 'n') // a nil pointer
}

// same says whether two leaves are equal as the library sees it; not ok if it cannot see one.
func same(n *node, old, new reflect.Value) (equal, ok bool) {
	if n.plain {
		return samePlain(dereference(old), dereference(new)), true
	}
	if old.CanAddr() && new.CanAddr() {
		if o, ok := old.Addr().Interface().(*metav1.Time); ok {
			w := new.Addr().Interface().(*metav1.Time)
			return o.IsZero() == w.IsZero() && (o.IsZero() || o.Unix() == w.Unix()), true
		}
	}
	o, err1 := libraryValue(old)
	w, err2 := libraryValue(new)
	if err1 != nil || err2 != nil {
		return false, false
	}
	return value.Equals(o, w), true
}

func samePlain(a, b reflect.Value) bool {
	if a.Kind() != b.Kind() {
		return false // one is a nil pointer
	}
	switch a.Kind() {
	case reflect.String:
		return a.String() == b.String()
	case reflect.Bool:
		return a.Bool() == b.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return a.Int() == b.Int()
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return a.Uint() == b.Uint()
	}
	return true // two nil pointers
}

// libraryValue is what the library compares; an error if it is to be JSON and is not.
func libraryValue(v reflect.Value) (value.Value, error) {
	if v.Kind() != reflect.Pointer {
		if !v.CanAddr() {
			c := reflect.New(v.Type()).Elem()
			c.Set(v)
			v = c
		}
		v = v.Addr()
	}
	return value.NewValueReflect(v.Interface())
}
