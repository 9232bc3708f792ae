package inprocess

import (
	"context"

	"clipper/api"
	"clipper/store"
)

// A view is one resource of the store.
type view struct {
	store  *store.Store
	prefix string
}

// WaitSynced implements api.View: the store is always complete.
func (v view) WaitSynced(context.Context) error { return nil }

// Version implements api.Versioned.
func (v view) Version() int64 { return v.store.Snapshot(v.prefix).Changed() }

// Complete implements api.Partial.
func (v view) Complete(namespace string) error { return v.store.Complete(v.prefix, namespace) }

// Hides implements api.Partial.
func (v view) Hides(namespace string) bool { return v.store.Hides(v.prefix, namespace) }

// Get implements api.View.
func (v view) Get(namespace, name string) (api.Object, bool) {
	it, ok := v.store.Get(store.Key{Resource: v.prefix, Namespace: namespace, Name: name})
	if !ok {
		return nil, false
	}
	return it.Object, true
}

// List implements api.View.
func (v view) List(namespace string) []api.Object {
	sn := v.store.Snapshot(v.prefix)
	out := make([]api.Object, 0, sn.Len(namespace))
	sn.Ascend(namespace, store.Key{}, func(it *store.Item) bool {
		out = append(out, it.Object)
		return true
	})
	return out
}

// ByIndex implements api.View.
func (v view) ByIndex(ix api.Index, value string) []api.Object {
	return objects(v.store.Snapshot(v.prefix).ByIndex(ix, value))
}

// Watch implements api.View.
func (v view) Watch(ctx context.Context, fn func(api.Event)) error {
	f := v.store.Follow(v.prefix)
	for synced := false; ; {
		events, err := f.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			fn(event(e))
		}
		if !synced {
			synced = true
			fn(api.Event{Type: api.Synced})
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func event(e *store.Event) api.Event {
	switch {
	case e.Old == nil:
		return api.Event{Type: api.Added, New: e.New.Object}
	case e.New == nil:
		return api.Event{Type: api.Deleted, Old: e.Last.Object}
	}
	return api.Event{Type: api.Modified, Old: e.Old.Object, New: e.New.Object}
}
