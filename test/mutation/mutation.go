// Package mutation changes API objects at random, by their Go types: a field is set, cleared or filled, an
// element is added, doubled, dropped or moved. Values are taken from the object itself, from the API's
// constants and from a list of those that validation cares about, so that many changed objects are still
// valid and most invalid ones are so in one place.
package mutation

import (
	"math/rand"
	"reflect"
	"slices"
	"strings"
)

// A Mutator changes objects. What it does follows from Rand alone.
type Mutator struct {
	Rand      *rand.Rand
	Constants *Constants

	own []string // the strings of the object at hand
}

// Change makes n changes to the object that obj points to.
func (m *Mutator) Change(obj any, n int) {
	v := m.enter(obj)
	for range n {
		m.mutate(v, 0)
	}
}

// ChangeField makes n changes to the object that obj points to, nearly all of them within its field name.
func (m *Mutator) ChangeField(obj any, n int, name string) {
	v := m.enter(obj)
	part := v.FieldByName(name)
	for range n {
		if part.IsValid() && m.chance(90) {
			m.mutate(part, 0)
		} else {
			m.mutate(v, 0)
		}
	}
}

func (m *Mutator) enter(obj any) reflect.Value {
	v := reflect.ValueOf(obj).Elem()
	m.own = m.own[:0]
	m.collect(v)
	return v
}

// chance is true in percent of a hundred cases.
func (m *Mutator) chance(percent int) bool { return m.Rand.Intn(100) < percent }

func pick[T any](m *Mutator, list []T) T { return list[m.Rand.Intn(len(list))] }

// collect gathers the strings of v.
func (m *Mutator) collect(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.String() != "" {
			m.own = append(m.own, v.String())
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			m.collect(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				m.collect(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		for i := range v.Len() {
			m.collect(v.Index(i))
		}
	case reflect.Map:
		for _, k := range keys(v) {
			m.collect(k)
			m.collect(v.MapIndex(k))
		}
	}
}

// keys returns the keys of a map in order: a run must not depend on that of Go's maps.
func keys(v reflect.Value) []reflect.Value {
	list := v.MapKeys()
	slices.SortFunc(list, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return list
}

// text returns a string for a field of type t: mostly one of the type's constants if it has any.
func (m *Mutator) text(t reflect.Type) string {
	if values := m.Constants.typed[t.PkgPath()+"."+t.Name()]; len(values) > 0 && m.chance(85) {
		return pick(m, values)
	}
	switch n := m.Rand.Intn(100); {
	case n < 35 && len(m.own) > 0:
		return pick(m, m.own)
	case n < 45:
		return pick(m, m.Constants.untyped)
	default:
		return pick(m, texts)
	}
}

// mutate changes v in one place.
func (m *Mutator) mutate(v reflect.Value, depth int) {
	if m.setWhole(v) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		m.mutateStruct(v, depth)
	case reflect.Pointer:
		m.mutatePointer(v, depth)
	case reflect.Slice:
		m.mutateSlice(v, depth)
	case reflect.Map:
		m.mutateMap(v, depth)
	default:
		m.setScalar(v)
	}
}

func (m *Mutator) mutateStruct(v reflect.Value, depth int) {
	var open []int
	for i := range v.NumField() {
		if m.mayChange(v.Type(), v.Type().Field(i)) {
			open = append(open, i)
		}
	}
	if len(open) > 0 {
		m.mutate(v.Field(pick(m, open)), depth+1)
	}
}

// managed are the fields of metadata that a request does not decide, or that take it to another object.
var managed = []string{
	"Name", "Namespace", "SelfLink", "UID", "ResourceVersion", "Generation", "CreationTimestamp", "DeletionTimestamp", "ManagedFields",
}

// mayChange says whether a field of type t is one to change. Metadata is the same for all kinds, so it
// has its turn less often than what a kind has of its own.
func (m *Mutator) mayChange(t reflect.Type, f reflect.StructField) bool {
	switch {
	case !f.IsExported(), f.Type == typeMeta:
		return false
	case t == objectMeta && slices.Contains(managed, f.Name):
		return f.Name == "Name" && m.chance(50)
	case f.Type == objectMeta:
		return m.chance(15)
	}
	return true
}

func (m *Mutator) mutatePointer(v reflect.Value, depth int) {
	switch {
	case v.IsNil():
		m.fill(v, depth+1)
	case m.chance(20):
		v.SetZero()
	default:
		m.mutate(v.Elem(), depth+1)
	}
}

func (m *Mutator) mutateSlice(v reflect.Value, depth int) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetBytes([]byte(pick(m, texts)))
		return
	}
	n, what := v.Len(), m.Rand.Intn(100)
	switch {
	case n == 0 || what < 12:
		element := reflect.New(v.Type().Elem()).Elem()
		m.fill(element, depth+1)
		v.Set(reflect.Append(v, element))
	case what < 18:
		v.SetZero()
	case what < 26 && n < 6:
		v.Set(reflect.Append(v, v.Index(m.Rand.Intn(n)))) // shared with the first until it is encoded
	case what < 36:
		drop(v, m.Rand.Intn(n))
	case what < 40 && n > 1:
		reflect.Swapper(v.Interface())(m.Rand.Intn(n), m.Rand.Intn(n))
	default:
		m.mutate(v.Index(m.Rand.Intn(n)), depth+1)
	}
}

// drop removes element i of a slice.
func drop(v reflect.Value, i int) {
	rest := reflect.MakeSlice(v.Type(), 0, v.Len())
	rest = reflect.AppendSlice(rest, v.Slice(0, i))
	v.Set(reflect.AppendSlice(rest, v.Slice(i+1, v.Len())))
}

func (m *Mutator) mutateMap(v reflect.Value, depth int) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	list, what := keys(v), m.Rand.Intn(100)
	if len(list) > 0 && what < 20 {
		v.SetMapIndex(pick(m, list), reflect.Value{})
		return
	}
	key := reflect.New(v.Type().Key()).Elem()
	if len(list) > 0 && what < 60 {
		key = pick(m, list)
	} else {
		key.SetString(m.text(v.Type().Key()))
	}
	element := reflect.New(v.Type().Elem()).Elem()
	m.fill(element, depth+1)
	v.SetMapIndex(key, element)
}
