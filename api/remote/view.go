package remote

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"sync"

	"clipper/api"
)

// A view holds the objects of one resource. It is a cache.ReflectorStore (reflect.go): a reflector fills it.
type view struct {
	client   *Client
	resource api.Resource

	mu       sync.Mutex
	objects  map[string]api.Object
	sorted   []string // keys in order; nil: to be sorted anew
	indexes  map[api.Index]map[string]map[string]bool
	watchers map[*watcher]bool
	version  int64
	synced   chan struct{} // closed when the first complete state is there
	isSynced bool
}

func newView(c *Client, r api.Resource) *view {
	v := &view{client: c, resource: r, objects: map[string]api.Object{}, watchers: map[*watcher]bool{},
		indexes: map[api.Index]map[string]map[string]bool{}, synced: make(chan struct{})}
	for ix := range api.Indexes[r] {
		v.indexes[ix] = map[string]map[string]bool{}
	}
	return v
}

func key(namespace, name string) string { return namespace + "/" + name }

func keyOf(o api.Object) string { return key(o.GetNamespace(), o.GetName()) }

// WaitSynced implements api.View.
func (v *view) WaitSynced(ctx context.Context) error {
	select {
	case <-v.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Version rises with every change of the view.
func (v *view) Version() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.version
}

// Get implements api.View.
func (v *view) Get(namespace, name string) (api.Object, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, ok := v.objects[key(namespace, name)]
	return o, ok
}

// List implements api.View.
func (v *view) List(namespace string) []api.Object {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sortLocked()
	keys := v.sorted
	if namespace != "" {
		prefix := namespace + "/"
		from := sort.SearchStrings(keys, prefix)
		to := sort.SearchStrings(keys, namespace+"0") // '0' follows '/'
		keys = keys[from:to]
	}
	return v.pickLocked(keys)
}

func (v *view) sortLocked() {
	if v.sorted != nil {
		return
	}
	v.sorted = make([]string, 0, len(v.objects))
	for k := range v.objects {
		v.sorted = append(v.sorted, k)
	}
	slices.Sort(v.sorted)
}

func (v *view) pickLocked(keys []string) []api.Object {
	out := make([]api.Object, len(keys))
	for i, k := range keys {
		out[i] = v.objects[k]
	}
	return out
}

// ByIndex implements api.View.
func (v *view) ByIndex(ix api.Index, value string) []api.Object {
	v.mu.Lock()
	defer v.mu.Unlock()
	of, ok := v.indexes[ix]
	if !ok {
		panic(fmt.Sprintf("api/remote: %s have no index %s", v.resource.Name, ix))
	}
	keys := make([]string, 0, len(of[value]))
	for k := range of[value] {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return v.pickLocked(keys)
}

// Watch implements api.View.
func (v *view) Watch(ctx context.Context, fn func(api.Event)) error {
	if err := v.WaitSynced(ctx); err != nil {
		return err
	}
	w := newWatcher()
	v.mu.Lock()
	v.sortLocked()
	for _, o := range v.pickLocked(v.sorted) {
		w.add(api.Event{Type: api.Added, New: o})
	}
	w.add(api.Event{Type: api.Synced})
	v.watchers[w] = true
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		delete(v.watchers, w)
		v.mu.Unlock()
	}()
	for {
		for _, ev := range w.take() {
			if err := ctx.Err(); err != nil {
				return err
			}
			fn(ev)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
	}
}

// putLocked takes a new state of an object and tells the watchers. Nil deletes.
func (v *view) putLocked(k string, next api.Object) {
	old := v.objects[k]
	if old == nil && next == nil || sameRevision(old, next) {
		return
	}
	v.version++
	for ix, f := range api.Indexes[v.resource] {
		v.reindexLocked(v.indexes[ix], k, f, old, next)
	}
	ev := api.Event{Type: api.Modified, Old: old, New: next}
	switch {
	case next == nil:
		ev.Type = api.Deleted
		delete(v.objects, k)
		v.sorted = nil
	case old == nil:
		ev.Type = api.Added
		v.objects[k] = next
		v.sorted = nil
	default:
		v.objects[k] = next
	}
	if old != nil && next != nil && old.GetUID() != next.GetUID() { // deleted and made anew while nobody looked
		v.tellLocked(api.Event{Type: api.Deleted, Old: old})
		ev = api.Event{Type: api.Added, New: next}
	}
	v.tellLocked(ev)
}

func (v *view) tellLocked(ev api.Event) {
	for w := range v.watchers {
		w.add(ev)
	}
}

func sameRevision(a, b api.Object) bool {
	return a != nil && b != nil && a.GetUID() == b.GetUID() && a.GetResourceVersion() == b.GetResourceVersion()
}

func (v *view) reindexLocked(of map[string]map[string]bool, k string, f func(api.Object) []string, old, next api.Object) {
	if old != nil {
		for _, val := range f(old) {
			delete(of[val], k)
			if len(of[val]) == 0 {
				delete(of, val)
			}
		}
	}
	if next != nil {
		for _, val := range f(next) {
			if of[val] == nil {
				of[val] = map[string]bool{}
			}
			of[val][k] = true
		}
	}
}

// replaceLocked makes the view hold exactly objects, restricted to keys that mine accepts.
func (v *view) replaceLocked(objects []api.Object, mine func(key string) bool) {
	have := map[string]bool{}
	slices.SortFunc(objects, func(a, b api.Object) int { return cmp.Compare(revision(a), revision(b)) })
	for _, o := range objects {
		have[keyOf(o)] = true
	}
	for k := range v.objects {
		if mine(k) && !have[k] {
			v.putLocked(k, nil)
		}
	}
	for _, o := range objects {
		v.putLocked(keyOf(o), o)
	}
}

func revision(o api.Object) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (v *view) syncedLocked() {
	if !v.isSynced {
		v.isSynced = true
		close(v.synced)
	}
}

// A watcher is one reader's queue. While the reader keeps up it gets every change; one that has fallen
// behind gets several changes of an object as one.
type watcher struct {
	wake chan struct{}

	mu    sync.Mutex
	queue []*api.Event
	last  map[string]*api.Event // newest queued event per object, once the reader has fallen behind
}

// behind is the queue's length from which changes of one object are merged.
const behind = 1024

func newWatcher() *watcher { return &watcher{wake: make(chan struct{}, 1)} }

func (w *watcher) add(ev api.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) >= behind && ev.Type == api.Modified && w.mergeLocked(ev) {
		return
	}
	e := &ev
	w.queue = append(w.queue, e)
	if w.last != nil && ev.Type != api.Synced {
		w.last[keyOf(ev.Object())] = e
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// mergeLocked folds a modification into the event already queued for the object, if there is one.
func (w *watcher) mergeLocked(ev api.Event) bool {
	if w.last == nil {
		w.last = map[string]*api.Event{}
		for _, q := range w.queue {
			if q.Type != api.Synced {
				w.last[keyOf(q.Object())] = q
			}
		}
	}
	q := w.last[keyOf(ev.New)]
	if q == nil || q.Type == api.Deleted || q.New.GetUID() != ev.New.GetUID() {
		return false
	}
	q.New = ev.New
	return true
}

func (w *watcher) take() []api.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]api.Event, len(w.queue))
	for i, e := range w.queue {
		out[i] = *e
	}
	w.queue, w.last = nil, nil
	return out
}
