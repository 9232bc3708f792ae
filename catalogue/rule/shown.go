package rule

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/diff"
)

// Faults quote the value they are about. Upstream validates types of its own that have no names for JSON, so
// that it quotes {"Name":"x","Optional":null} where a client wrote {"name":"x"}.

// shown wraps a value that holds structures of the API for being quoted so; others are as they were.
func shown(value any) any {
	t := reflect.TypeOf(value)
	if t == nil || t == reflect.TypeFor[internal]() {
		return value
	}
	if t.Kind() == reflect.Pointer && reflect.ValueOf(value).IsNil() {
		return value
	}
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct && ofAPI(t) {
		return internal{value}
	}
	return value
}

// ofAPI says that a type is one of k8s.io/api: those of apimachinery are upstream's own types, too.
func ofAPI(t reflect.Type) bool { return strings.HasPrefix(t.PkgPath(), "k8s.io/api/") }

// Diff shows what differs between two values of the API, line by line.
func Diff(a, b any) string { return diff.Diff(internal{a}, internal{b}) }

// internal is a value that marshals as upstream's internal type would: every field, by its Go name.
type internal struct{ value any }

// MarshalJSON implements json.Marshaler.
func (i internal) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := writeInternal(&b, reflect.ValueOf(i.value))
	return b.Bytes(), err
}

func writeInternal(b *bytes.Buffer, v reflect.Value) error {
	switch kind := v.Kind(); {
	case kind == reflect.Pointer && !v.IsNil():
		return writeInternal(b, v.Elem())
	case kind == reflect.Struct && (ofAPI(v.Type()) || v.Type() == reflect.TypeFor[podSecurity]()):
		b.WriteByte('{')
		if err := writeFields(b, v); err != nil {
			return err
		}
		b.WriteByte('}')
		return nil
	case kind == reflect.Slice && !v.IsNil() && v.Type().Elem().Kind() != reflect.Uint8:
		return writeList(b, v)
	case kind == reflect.Map && !v.IsNil():
		return writeMap(b, v)
	}
	return writeValue(b, v.Interface())
}

func writeValue(b *bytes.Buffer, value any) error {
	data, err := json.Marshal(value)
	b.Write(data)
	return err
}

// writeFields writes the fields of a structure; those of an embedded one stand beside its own.
func writeFields(b *bytes.Buffer, v reflect.Value) error {
	comma := ""
	for _, f := range internalFields(v) {
		if f.name != "" {
			b.WriteString(comma + `"` + f.name + `":`)
			if err := writeInternal(b, f.value); err != nil {
				return err
			}
			comma = ","
			continue
		}
		data, err := json.Marshal(f.value.Interface())
		if err != nil {
			return err
		}
		if len(data) > len("{}") {
			b.WriteString(comma)
			b.Write(data[1 : len(data)-1])
			comma = ","
		}
	}
	return nil
}

func writeList(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeInternal(b, v.Index(i)); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func writeMap(b *bytes.Buffer, v reflect.Value) error {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeValue(b, k.String()); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := writeInternal(b, v.MapIndex(k)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}
