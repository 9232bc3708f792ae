// Package ownership keeps metadata.managedFields: which writer owns which field of an object. The answers
// are those of k8s.io/apimachinery/pkg/util/managedfields, which walks both states of an object through
// their merge schema and decodes, merges and encodes the sets of all managers, whatever the write.
//
// Most writes repeat one that was answered before: a lease is renewed, a status changes its times, the
// hundredth pod of a template is made. What the library answers depends on three things only: who writes,
// what managedFields say already, and at which places of the schema the two states differ; not on the
// values found there. So a Manager writes these three down, remembers the answer under their digest, and
// asks the library only when the question is new or is of a kind that cannot be written down exactly. Large objects it
// shows to the library in an order that keeps its time in proportion to their size.
package ownership

import (
	"crypto/sha256"
	"encoding/binary"
	"reflect"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"clipper/api"
)

// maxEntries is how many managers an object may have for its writes to be remembered: with more, the
// library merges the oldest, and then their times matter too.
const maxEntries = 9

// A Manager computes managedFields for writes to one kind in one version, through one subresource or none.
// It is safe for concurrent use.
type Manager struct {
	library     *managedfields.FieldManager
	build       Library // for large objects and those of many managers
	types       managedfields.TypeConverter
	converter   runtime.ObjectConvertor
	kind        schema.GroupVersionKind
	version     string // of kind, as managedFields have it
	subresource string
	plan        *node      // nil: every write is the library's
	nothing     api.Object // what a new object is compared with; read-only
	memory      memory
}

var tracers = sync.Pool{New: func() any { return &tracer{} }}

// Managers makes Managers that share what they know of types. A type of one name must be the same type in all kinds.
// The zero value is fine.
type Managers struct{ planner planner }

// A Library makes the library's field manager of a kind, which knows the kind's merge schema from types and gets its
// other versions from converter.
type Library func(types managedfields.TypeConverter, converter runtime.ObjectConvertor) (*managedfields.FieldManager, error)

// Of returns a Manager for writes in the version spoken to objects stored as kind, of which nothing is an
// empty one. library makes those that it asks. Untyped objects, and versions that are not the stored one,
// are the library's alone.
func (s *Managers) Of(library Library, types managedfields.TypeConverter, converter runtime.ObjectConvertor, nothing api.Object, kind, spoken schema.GroupVersionKind, subresource string) (*Manager, error) {
	fm, err := library(types, converter)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		library: fm, build: library, types: types, converter: converter,
		kind: kind, version: kind.GroupVersion().String(), subresource: subresource, nothing: nothing,
	}
	nothing.GetObjectKind().SetGroupVersionKind(kind)
	if _, ok := nothing.(runtime.Unstructured); ok || spoken != kind {
		return m, nil
	}
	if typed, err := types.ObjectToTyped(nothing); err == nil {
		m.plan = s.planner.plan(reflect.TypeOf(nothing).Elem(), typed.Schema(), typed.TypeRef())
	}
	return m, nil
}

// Update records in next.managedFields what manager changed relative to live (nil: there was nothing).
// next carries its kind, live need not. Like the library it never fails: what cannot be tracked is left
// untracked, and a list of managers that is longer than any real one counts as none.
func (m *Manager) Update(live, next api.Object, manager string) {
	if live == nil {
		live = m.nothing
	}
	entries := live.GetManagedFields()
	if isCrowd(next.GetManagedFields(), entries) {
		next.SetManagedFields(nil)
	}
	if given := next.GetManagedFields(); given != nil && m.subresource == "" {
		entries = given // equal ones, or else there is no question
	}
	key, ok := m.question(live, next, manager)
	if !ok {
		m.ask(live, next, manager)
		return
	}
	if a := m.memory.get(key); a != nil {
		next.SetManagedFields(a.fill(entries))
		return
	}
	m.ask(live, next, manager)
	if a := answerOf(entries, next.GetManagedFields()); a != nil && a.size() <= maxAnswer {
		m.memory.put(key, a)
		next.SetManagedFields(a.fill(entries)) // every object shares the answer's bytes, this one too
	}
}

// ask has the library answer.
func (m *Manager) ask(live, next api.Object, manager string) {
	var order managedfields.TypeConverter
	if isLarge(live) || isLarge(next) {
		order = orderly{m.types, true}
		next.SetManagedFields(sortEntries(next.GetManagedFields()))
	}
	library, err := m.libraryFor(order, max(len(live.GetManagedFields()), len(next.GetManagedFields())))
	if err != nil {
		return // cannot be: another like it was made
	}
	library.UpdateNoErrors(WithKind(live, m.kind), next, manager)
}

// libraryFor returns the library for a write to an object of so many managers, which it is to see in an order, or, if that
// is nil, as it comes.
func (m *Manager) libraryFor(order managedfields.TypeConverter, managers int) (*managedfields.FieldManager, error) {
	if order == nil && managers <= maxEntries {
		return m.library, nil
	}
	if order == nil {
		order = m.types
	}
	if managers <= maxEntries {
		return m.build(order, m.converter)
	}
	o := newOnce(order, m.converter)
	return m.build(o, o)
}

// Apply merges a server-side apply's configuration into live.
func (m *Manager) Apply(live api.Object, config runtime.Object, manager string, force bool) (runtime.Object, error) {
	if live == nil {
		live = m.nothing.DeepCopyObject().(api.Object)
	}
	var order managedfields.TypeConverter
	if isLarge(live) || isLarge(config) {
		for _, obj := range []runtime.Object{config, live} {
			if err := checkApplied(obj); err != nil {
				return nil, err
			}
		}
		order = orderly{m.types, false}
	}
	library, err := m.libraryFor(order, len(live.GetManagedFields()))
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return library.Apply(WithKind(live, m.kind), config, manager, force)
}

// question returns the digest of everything that the answer depends on; false if that cannot be told.
func (m *Manager) question(live, next api.Object, manager string) (key, bool) {
	entries := live.GetManagedFields()
	if m.plan == nil || len(entries) > maxEntries {
		return key{}, false
	}
	if given := next.GetManagedFields(); given != nil {
		// A client may change managedFields; then they count, but not through a subresource.
		if m.subresource == "" && !sameEntries(given, entries) {
			return key{}, false
		}
		next.SetManagedFields(nil)
		defer next.SetManagedFields(given)
	}
	t := tracers.Get().(*tracer)
	defer tracers.Put(t)
	t.reset()
	t.out = appendText(t.out, manager)
	t.out = append(t.out, flag(live.GetUID() == ""))
	for i := range entries {
		e := &entries[i]
		if e.APIVersion != m.version || e.FieldsV1 == nil {
			return key{}, false
		}
		t.out = appendText(appendText(t.out, e.Manager), string(e.Operation))
		t.out = appendText(appendText(t.out, e.Subresource), e.FieldsType)
		t.out = append(t.out, flag(e.Time == nil))
		t.out = binary.AppendUvarint(t.out, uint64(len(e.FieldsV1.Raw)))
		t.out = append(t.out, e.FieldsV1.Raw...)
	}
	t.out = append(t.out, byte(len(entries)))
	t.compare(m.plan, reflect.ValueOf(live), reflect.ValueOf(next))
	if t.lost {
		return key{}, false
	}
	return sha256.Sum256(t.out), true
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// sameEntries says whether two lists of managers are the same, times included.
func sameEntries(a, b []metav1.ManagedFieldsEntry) bool {
	return len(a) > 0 && slices.EqualFunc(a, b, func(x, y metav1.ManagedFieldsEntry) bool {
		return x.Manager == y.Manager && x.Operation == y.Operation && x.APIVersion == y.APIVersion &&
			x.FieldsType == y.FieldsType && x.Subresource == y.Subresource && x.Time.Equal(y.Time) &&
			x.FieldsV1 != nil && y.FieldsV1 != nil && string(x.FieldsV1.Raw) == string(y.FieldsV1.Raw)
	})
}

// WithKind returns a shallow copy of obj that carries its kind and version: stored objects do not.
func WithKind(obj api.Object, gvk schema.GroupVersionKind) api.Object {
	if _, ok := obj.(runtime.Unstructured); ok {
		return obj
	}
	c := reflect.New(reflect.TypeOf(obj).Elem())
	c.Elem().Set(reflect.ValueOf(obj).Elem())
	out := c.Interface().(api.Object)
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out
}
