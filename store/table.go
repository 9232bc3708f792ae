package store

import (
	"cmp"
	"slices"
	"sync"

	"github.com/tidwall/btree"

	"clipper/api"
)

// A table holds one resource: its objects in order, its indexes and its ring. The store's mu guards it.
type table struct {
	resource string
	tree     *btree.BTreeG[*Item]
	indexes  []index
	ring     ring
	wake     wake

	epoch     int    // grows when something changes that no event tells of: watches begin anew
	published uint64 // events, since the store was opened

	frozen *frozen   // of the present state; nil after a change
	past   []*frozen // reconstructed older states, newest use last
}

// An index orders items by the values that its function yields.
type index struct {
	name   api.Index
	values func(api.Object) []string
	tree   *btree.BTreeG[indexEntry]
}

type indexEntry struct {
	value string
	item  *Item
}

// frozen is an immutable state of a table. revision is that of its last change.
type frozen struct {
	revision int64
	tree     *btree.BTreeG[*Item]
	indexes  []index
}

// maxPast is how many reconstructed states a table keeps: a client that reads a long list page by page
// asks for the same old revision again and again.
const maxPast = 4

func newTable(resource string, r api.Resource, revision int64, o Options) *table {
	t := &table{
		resource: resource,
		tree:     btree.NewBTreeGOptions(itemLess, btree.Options{NoLocks: true}),
		ring:     ring{compacted: revision, maxEvents: o.RingSize, maxBytes: o.RingBytes, maxAge: o.RingAge},
		wake:     newWake(),
	}
	for name, values := range api.Indexes[r] {
		t.indexes = append(t.indexes, index{name, values, btree.NewBTreeGOptions(entryLess, btree.Options{NoLocks: true})})
	}
	return t
}

func itemLess(a, b *Item) bool { return compareKeys(a.Key, b.Key) < 0 }

// probes are items with a key alone, to look others up with. Pooled, since every read needs one.
var probes = sync.Pool{New: func() any { return &Item{} }}

// lookup returns the item with a key.
func lookup(tree *btree.BTreeG[*Item], k Key) (*Item, bool) {
	p := probes.Get().(*Item)
	p.Key = k
	it, ok := tree.Get(p)
	p.Key = Key{}
	probes.Put(p)
	return it, ok
}

// compareKeys orders the keys of one resource.
func compareKeys(a, b Key) int {
	if c := cmp.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return cmp.Compare(a.Name, b.Name)
}

func entryLess(a, b indexEntry) bool {
	if a.value != b.value {
		return a.value < b.value
	}
	return itemLess(a.item, b.item)
}

// replace takes old out (nil: nothing) and puts new in (nil: nothing).
func replace(tree *btree.BTreeG[*Item], indexes []index, old, new *Item) {
	for _, ix := range indexes {
		if old != nil {
			for _, v := range ix.values(old.Object) {
				ix.tree.Delete(indexEntry{v, old})
			}
		}
		if new != nil {
			for _, v := range ix.values(new.Object) {
				ix.tree.Set(indexEntry{v, new})
			}
		}
	}
	if new != nil {
		tree.Set(new)
	} else if old != nil {
		tree.Delete(old)
	}
}

// applyLocked makes an event visible.
func (t *table) applyLocked(e *Event) {
	replace(t.tree, t.indexes, e.Old, e.New)
	t.frozen = nil
	t.ring.add(e)
	t.published++
	t.forgetPastLocked()
}

// forgetPastLocked drops reconstructed states that nobody may ask for any more.
func (t *table) forgetPastLocked() {
	t.past = slices.DeleteFunc(t.past, func(f *frozen) bool { return f.revision < t.ring.compacted })
}

// freezeLocked returns the present state. It costs a few nodes' copying in later writes, nothing now.
func (t *table) freezeLocked(revision int64) *frozen {
	if t.frozen == nil {
		t.frozen = &frozen{revision: revision, tree: t.tree.Copy(), indexes: copyIndexes(t.indexes)}
	}
	return t.frozen
}

func copyIndexes(in []index) []index {
	out := make([]index, len(in))
	for i, ix := range in {
		out[i] = index{ix.name, ix.values, ix.tree.Copy()}
	}
	return out
}

// pastLocked reconstructs the state at revision by undoing what the ring has seen since.
func (t *table) pastLocked(revision int64) *frozen {
	for i, f := range t.past {
		if f.revision == revision {
			t.past = append(append(t.past[:i:i], t.past[i+1:]...), f)
			return f
		}
	}
	f := &frozen{revision: revision, tree: t.tree.Copy(), indexes: copyIndexes(t.indexes)}
	undo := t.ring.after(revision)
	for i := len(undo) - 1; i >= 0; i-- {
		replace(f.tree, f.indexes, undo[i].New, undo[i].Old)
	}
	if len(t.past) == maxPast {
		t.past = t.past[1:]
	}
	t.past = append(t.past, f)
	return f
}
