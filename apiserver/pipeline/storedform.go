package pipeline

import (
	"reflect"
	"strings"
	"sync"

	"clipper/api"
)

// storedForm makes of an object what will be read back of it: protobuf does not tell an empty list from none, nor a
// missing value of a map from an empty one. Where JSON shows lists that are empty, clients would see the difference after
// the next start, or from another server. Upstream answers with what it has stored.
func storedForm(obj api.Object) {
	if _, ok := obj.(message); !ok {
		return
	}
	v := reflect.ValueOf(obj).Elem()
	if form := forms.of(v.Type()); form != nil {
		form(v)
	}
}

// A former brings a value to its stored form; nil where nothing of its type can differ.
type former func(v reflect.Value)

// formers remembers what to do with each type of object.
type formers struct{ known sync.Map } // reflect.Type → former

var forms formers

func (f *formers) of(t reflect.Type) former {
	if known, ok := f.known.Load(t); ok {
		return known.(former)
	}
	made, _ := f.known.LoadOrStore(t, formerOf(t, nil))
	return made.(former)
}

// formerOf looks for lists that are shown though they are empty, below a type that is within the others.
func formerOf(t reflect.Type, within []reflect.Type) former {
	for _, outer := range within {
		if outer == t {
			return nil // schemas contain themselves; they are not stored in protobuf
		}
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.Pointer:
		if form := formerOf(t.Elem(), within); form != nil {
			return func(v reflect.Value) {
				if !v.IsNil() {
					form(v.Elem())
				}
			}
		}
	case reflect.Slice:
		if form := formerOf(t.Elem(), within); form != nil {
			return func(v reflect.Value) {
				for i := range v.Len() {
					form(v.Index(i))
				}
			}
		}
	case reflect.Map:
		if t.Elem() == reflect.TypeFor[[]byte]() {
			return fillMissing
		}
	case reflect.Struct:
		return structFormer(t, within)
	}
	return nil
}

func structFormer(t reflect.Type, within []reflect.Type) former {
	type step struct {
		field int
		form  former
	}
	var steps []step
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("json")
		if !f.IsExported() || !tagged {
			continue // what writes itself
		}
		if form := formerOf(f.Type, within); form != nil {
			steps = append(steps, step{i, form})
		}
		if !strings.Contains(tag, "omitempty") && isList(f.Type) {
			steps = append(steps, step{i, dropEmpty})
		}
	}
	if steps == nil {
		return nil
	}
	return func(v reflect.Value) {
		for _, s := range steps {
			s.form(v.Field(s.field))
		}
	}
}

// isList says whether a type is that of a list or map; bytes are neither.
func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Map || t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8
}

func dropEmpty(v reflect.Value) {
	if !v.IsNil() && v.Len() == 0 {
		v.SetZero()
	}
}

// fillMissing makes empty values of missing ones.
func fillMissing(v reflect.Value) {
	for _, key := range v.MapKeys() {
		if v.MapIndex(key).IsNil() {
			v.SetMapIndex(key, reflect.ValueOf([]byte{}))
		}
	}
}
