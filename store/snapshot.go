package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidwall/btree"

	"clipper/api"
	"clipper/store/log"
)

// A Snapshot is an immutable state of one resource. It is small; pass it by value.
type Snapshot struct {
	revision int64
	f        *frozen
	resource string
}

// Revision is the store's revision that the snapshot shows.
func (sn Snapshot) Revision() int64 { return sn.revision }

// Changed grows with every change of the resource: two snapshots of one resource with the same value are
// the same.
func (sn Snapshot) Changed() int64 { return sn.f.revision }

// Len counts the objects in a namespace, or all with "".
func (sn Snapshot) Len(namespace string) int {
	if namespace == "" {
		return sn.f.tree.Len()
	}
	return rank(sn.f.tree, Key{Namespace: namespace + "\x00"}) - rank(sn.f.tree, Key{Namespace: namespace})
}

// sampled is how many objects MeanSize looks at.
const sampled = 16

// MeanSize estimates the encoded size of an object from a few that are spread over all of them.
func (sn Snapshot) MeanSize() int { return meanSize(sn.f.tree) }

func meanSize(tree *btree.BTreeG[*Item]) int {
	n := tree.Len()
	looked, sum := min(n, sampled), 0
	for i := range looked {
		it, _ := tree.GetAt(i * n / looked)
		sum += it.size
	}
	return sum / max(1, looked)
}

// rank counts the items before k: O(log² n), so that counting the rest of a list costs nothing.
func rank(tree *btree.BTreeG[*Item], k Key) int {
	lo, hi := 0, tree.Len()
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if it, _ := tree.GetAt(mid); compareKeys(it.Key, k) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// Rank counts the objects of a namespace (all with "") that Ascend with the same after leaves out.
func (sn Snapshot) Rank(namespace string, after Key) int {
	start := Key{Namespace: namespace}
	if compareKeys(after, start) < 0 {
		return 0
	}
	after.Name += "\x00" // the least key that is greater
	return rank(sn.f.tree, after) - rank(sn.f.tree, start)
}

// Get returns one object.
func (sn Snapshot) Get(k Key) (*Item, bool) { return lookup(sn.f.tree, k) }

// Ascend calls fn with the objects of a namespace (all with ""), by namespace and name, until fn returns
// false. It starts behind after; the zero Key means at the start.
func (sn Snapshot) Ascend(namespace string, after Key, fn func(*Item) bool) {
	from := Key{Namespace: namespace}
	if compareKeys(after, from) >= 0 && after != (Key{}) {
		from = after
	}
	sn.f.tree.Ascend(&Item{Key: from}, func(it *Item) bool {
		if namespace != "" && it.Key.Namespace != namespace {
			return false
		}
		if after.Name == it.Key.Name && after.Namespace == it.Key.Namespace {
			return true
		}
		return fn(it)
	})
}

// ByIndex returns the objects that ix files under value. It panics if the resource has no such index.
func (sn Snapshot) ByIndex(ix api.Index, value string) []*Item {
	for _, x := range sn.f.indexes {
		if x.name == ix {
			return x.lookup(value)
		}
	}
	panic(fmt.Sprintf("store: %s has no index %q; add it to api.Indexes", sn.resource, ix))
}

func (x index) lookup(value string) []*Item {
	var out []*Item
	x.tree.Ascend(indexEntry{value, &Item{}}, func(e indexEntry) bool {
		if e.value != value {
			return false
		}
		out = append(out, e.item)
		return true
	})
	return out
}

// Snapshot returns the present state of a resource.
func (s *Store) Snapshot(resource string) Snapshot {
	s = s.Of(resource)
	s.mu.RLock()
	if t := s.tables[resource]; t != nil && t.frozen != nil {
		sn := Snapshot{s.revision, t.frozen, resource}
		s.mu.RUnlock()
		return sn
	}
	s.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshotLocked(s.tableLocked(resource))
}

func (s *Store) snapshotLocked(t *table) Snapshot {
	return Snapshot{s.revision, t.freezeLocked(s.revision), t.resource}
}

// SnapshotAt returns the state of a resource at a revision: ErrFuture if it has not been published,
// ErrCompacted if it is older than Options.RingAge or than the ring.
func (s *Store) SnapshotAt(resource string, revision int64) (Snapshot, error) {
	s = s.Of(resource)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweepLocked(time.Now())
	t := s.tableLocked(resource)
	if err := s.checkRevisionLocked(t, revision); err != nil {
		return Snapshot{}, err
	}
	if revision < s.compacted {
		return Snapshot{}, fmt.Errorf("%s at revision %d, given out since %d: %w", resource, revision, s.compacted, ErrCompacted)
	}
	if len(t.ring.after(revision)) == 0 {
		return Snapshot{revision, t.freezeLocked(s.revision), resource}, nil
	}
	return Snapshot{revision, t.pastLocked(revision), resource}, nil
}

// ReadAt is SnapshotAt for revisions that the log may still have when the store does not: a list that was begun
// on another server, say.
func (s *Store) ReadAt(ctx context.Context, resource string, revision int64) (Snapshot, error) {
	s = s.Of(resource)
	sn, err := s.SnapshotAt(resource, revision)
	if !errors.Is(err, ErrCompacted) {
		return sn, err
	}
	var found content
	read := func(fn func(log.Entry) error) (int64, error) {
		return revision, s.writer.readAt(ctx, s.options.Root+resource+"/", revision, fn)
	}
	if found, _, err = s.load(read, s.adopt); err == nil && len(found.puzzles) > 0 {
		err = found.puzzles[0].err
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("%s at revision %d: %w", resource, revision, err)
	}
	t := newTable(resource, s.options.Resources[resource], revision, s.options)
	for _, it := range found.items {
		replace(t.tree, t.indexes, nil, it)
	}
	return Snapshot{revision, t.freezeLocked(revision), resource}, nil
}

func (s *Store) checkRevisionLocked(t *table, revision int64) error {
	switch {
	case revision > s.revision:
		return fmt.Errorf("%s at revision %d, the store is at %d: %w", t.resource, revision, s.revision, ErrFuture)
	case revision < t.ring.compacted:
		return fmt.Errorf("%s at revision %d, kept since %d: %w", t.resource, revision, t.ring.compacted, ErrCompacted)
	}
	return nil
}
