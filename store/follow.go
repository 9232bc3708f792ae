package store

import (
	"context"
	"errors"

	"github.com/tidwall/btree"
)

// A Follower delivers the state of a resource and then its changes, without a gap for ever: when the ring
// overtakes it, it delivers the net difference. It shares the store's objects and, as long as they do not
// change, the nodes of its tree. One goroutine at a time may use it.
type Follower struct {
	s        *Store
	resource string
	watch    *Watch
	seen     *btree.BTreeG[*Item] // what has been delivered
}

// Follow starts a Follower that has seen nothing yet.
func (s *Store) Follow(resource string) *Follower {
	return &Follower{s: s.Of(resource), resource: resource, seen: btree.NewBTreeGOptions(itemLess, btree.Options{NoLocks: true})}
}

// Next returns what has changed since the last call; the first time, every object there is, without
// waiting. It blocks until there is something to return or ctx ends. The events of a net difference carry
// the revision of their objects.
func (f *Follower) Next(ctx context.Context) ([]*Event, error) {
	if f.watch == nil {
		return f.start(), nil
	}
	events, _, err := f.watch.Next(ctx)
	if errors.Is(err, ErrCompacted) {
		return f.start(), nil
	}
	for _, e := range events {
		replace(f.seen, nil, e.Old, e.New)
	}
	return events, err
}

// start takes the present state, watches from there and returns the difference to what was seen.
func (f *Follower) start() []*Event {
	f.s.mu.Lock()
	t := f.s.tableLocked(f.resource)
	now := t.tree.Copy()
	f.watch = &Watch{s: f.s, t: t, epoch: t.epoch, after: f.s.revision, closed: make(chan struct{})}
	f.s.mu.Unlock()
	events := difference(f.seen, now)
	f.seen = now
	return events
}

// difference walks two trees side by side.
func difference(old, new *btree.BTreeG[*Item]) []*Event {
	var out []*Event
	a, b := old.Iter(), new.Iter()
	defer a.Release()
	defer b.Release()
	more, next := a.First(), b.First()
	for more || next {
		c := 0
		switch {
		case !more:
			c = 1
		case !next:
			c = -1
		default:
			c = compareKeys(a.Item().Key, b.Item().Key)
		}
		switch {
		case c < 0:
			out = append(out, &Event{Revision: a.Item().Revision, Old: a.Item(), Last: a.Item()})
			more = a.Next()
		case c > 0:
			out = append(out, &Event{Revision: b.Item().Revision, New: b.Item()})
			next = b.Next()
		default:
			out = append(out, change(a.Item(), b.Item())...)
			more, next = a.Next(), b.Next()
		}
	}
	return out
}

// change is the difference between two states of one key. An object that was deleted and made anew is
// two objects.
func change(old, new *Item) []*Event {
	switch {
	case old == new:
		return nil
	case old.Created != new.Created:
		return []*Event{{Revision: old.Revision, Old: old, Last: old}, {Revision: new.Revision, New: new}}
	}
	return []*Event{{Revision: new.Revision, Old: old, New: new}}
}
