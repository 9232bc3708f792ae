package apiserver

import (
	"bytes"
	"encoding/json"
	"reflect"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	cbor "k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
)

// embedders remembers of Go types whether values of others' making lie in them.
var embedders sync.Map // reflect.Type → bool

var (
	extensionType = reflect.TypeFor[runtime.RawExtension]()
	jsonType      = reflect.TypeFor[apiextensionsv1.JSON]()
)

// selfDescribed is what CBOR begins with where JSON could be as well.
var selfDescribed = []byte{0xd9, 0xd9, 0xf7}

// checkEmbedded refuses an object with bytes in it that should be JSON, or CBOR, and are not: protobuf takes any, and
// nothing that reads the object later could.
func checkEmbedded(obj runtime.Object) error {
	v := reflect.ValueOf(obj).Elem()
	if !embeds(v.Type()) {
		return nil
	}
	return brokenWithin(v)
}

// embeds looks a type up, or through, once.
func embeds(t reflect.Type) bool {
	if known, ok := embedders.Load(t); ok {
		return known.(bool)
	}
	found := embedsAnew(t, map[reflect.Type]bool{})
	embedders.Store(t, found)
	return found
}

func embedsAnew(t reflect.Type, seen map[reflect.Type]bool) bool {
	switch {
	case t == extensionType, t == jsonType:
		return true
	case seen[t]:
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return embedsAnew(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if embedsAnew(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// brokenWithin goes through what may embed something.
func brokenWithin(v reflect.Value) error {
	if !embeds(v.Type()) {
		return nil
	}
	switch {
	case v.Type() == extensionType:
		raw := v.FieldByName("Raw")
		return broken(raw.Bytes(), raw.IsNil())
	case v.Type() == jsonType:
		raw := v.FieldByName("Raw")
		return broken(raw.Bytes(), raw.Len() == 0) // none at all reads as null
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return brokenWithin(v.Elem())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			if err := brokenWithin(v.Index(i)); err != nil {
				return err
			}
		}
	case v.Kind() == reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if err := brokenWithin(it.Value()); err != nil {
				return err
			}
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if err := brokenWithin(v.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func broken(raw []byte, absent bool) error {
	var v any
	switch {
	case absent:
		return nil
	case bytes.HasPrefix(raw, selfDescribed):
		return cbor.Unmarshal(raw, &v)
	}
	return json.Unmarshal(raw, &v)
}
