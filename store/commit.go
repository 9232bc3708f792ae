package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"clipper/api"
	"clipper/store/log"
)

// A reservation is the state that a key will have once its write is durable.
type reservation struct {
	revision int64
	item     *Item // nil: deleted
	group    *group
}

// A group is the writes of one append, in revision order. Those who wait for it wait on done.
type group struct {
	entries []log.Entry
	events  []*Event
	done    chan struct{}
	err     error // set before done is closed
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// Commit implements Committer.
func (s *Store) Commit(ctx context.Context, w Write) (*Item, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entry, err := s.encode(w) // outside of every lock
	if err != nil {
		return nil, err
	}
	it, g, err := s.enter(w, entry, s.mark(entry.Value))
	if g == nil {
		return nil, err
	}
	select {
	case <-g.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("commit %s: outcome unknown: %w", w.Key.Path(), ctx.Err())
	}
	if g.err != nil {
		return nil, g.err
	}
	return it, err
}

// encode makes the log entry of w, all but its revisions.
func (s *Store) encode(w Write) (log.Entry, error) {
	path := w.Key.Path()
	if w.Object == nil {
		return log.Entry{Key: path}, nil
	}
	if err := w.Key.check(s.options.Resources); err != nil {
		return log.Entry{}, err
	}
	w.Object.SetResourceVersion("")
	plain, err := s.options.Codec.Encode(w.Key, w.Object)
	if err != nil {
		return log.Entry{}, fmt.Errorf("encode %s: %w", path, err)
	}
	value, err := s.seal(w.Key.Resource, path, plain)
	if err != nil {
		return log.Entry{}, err
	}
	return log.Entry{Key: path, Value: value}, nil
}

// enter checks w's precondition against the latest reserved state, gives it its revision and adds it to
// the group that forms. A conflict with a state that is not durable yet comes with that state's group: who
// is told of it before could tell others, and a crash would make it untrue.
func (s *Store) enter(w Write, entry log.Entry, mark sealMark) (*Item, *group, error) {
	s.reserve.Lock()
	defer s.reserve.Unlock()
	if s.failure != nil {
		return nil, nil, s.failure
	}
	old := s.latest(w.Key)
	if have := revisionOf(old); have != w.Expect || old == nil && w.Object == nil {
		return nil, s.reserved[w.Key].group, &ConflictError{Current: old}
	}
	e := s.event(w, old, len(entry.Value))
	e.newest().mark = mark
	if err := s.remember(e.newest()); err != nil {
		return nil, nil, err
	}
	s.next++
	g := s.forming
	s.reserved[w.Key] = reservation{e.Revision, e.New, g}
	entry.Revision, entry.Created = e.Revision, e.newest().Created
	g.entries, g.events = append(g.entries, entry), append(g.events, e)
	select {
	case s.ready <- struct{}{}:
	default: // the writer has been told
	}
	return e.newest(), g, nil
}

// event makes w's change with the next revision.
func (s *Store) event(w Write, old *Item, size int) *Event {
	e := &Event{Revision: s.next, Old: old}
	it := &Item{Key: w.Key, Revision: s.next, Created: s.next, Object: w.Object, size: size}
	if old != nil {
		it.Key, it.Created = old.Key, old.Created
	} else {
		it.Key.Namespace, it.Key.Name = w.Object.GetNamespace(), w.Object.GetName()
	}
	if w.Object != nil {
		e.New = it
	} else {
		e.Last, it.size, it.Object = it, old.size, w.Last
		if w.Last == nil {
			it.Object = old.Object.DeepCopyObject().(api.Object)
		}
	}
	it.Object.SetResourceVersion(formatRevision(it.Revision))
	return e
}

// latest returns the newest state of a key, published or not; nil if it is absent.
func (s *Store) latest(k Key) *Item {
	if r, ok := s.reserved[k]; ok {
		return r.item
	}
	it, _ := s.Get(k)
	return it
}

func revisionOf(it *Item) int64 {
	if it == nil {
		return 0
	}
	return it.Revision
}

func formatRevision(r int64) string { return strconv.FormatInt(r, 10) }

// write is the store's one writer: it appends group after group, each formed while the one before it
// was being synced, and publishes them in order.
func (s *Store) write() error {
	for {
		select {
		case <-s.ready:
		case <-s.closing:
			s.flush() // nothing can enter any more
			return nil
		}
		s.flush()
	}
}

func (s *Store) flush() {
	s.reserve.Lock()
	g, err := s.forming, s.failure
	s.forming = newGroup()
	s.reserve.Unlock()
	if len(g.events) == 0 {
		return
	}
	if err == nil || err == ErrClosed { // what entered before Close is still written
		err = s.log.Append(g.events[len(g.events)-1].Revision, g.entries)
	}
	if err != nil {
		s.fail(err)
		g.err = s.failure
	} else {
		s.publish(g)
	}
	close(g.done)
}

// publish shows a durable group to readers and watchers.
func (s *Store) publish(g *group) {
	now := time.Now()
	s.mu.Lock()
	for _, e := range g.events {
		e.at = now
		s.tableLocked(e.newest().Key.Resource).applyLocked(e)
	}
	s.revision = g.events[len(g.events)-1].Revision
	for _, e := range g.events {
		s.tables[e.newest().Key.Resource].wake.broadcastLocked()
	}
	s.wake.broadcastLocked()
	s.sweepLocked(now)
	s.mu.Unlock()

	s.reserve.Lock()
	for _, e := range g.events {
		if k := e.newest().Key; s.reserved[k].revision == e.Revision {
			delete(s.reserved, k)
		}
	}
	s.reserve.Unlock()
}

// sweepInterval is how often old events are looked for in all rings: one that gets no new events would
// otherwise keep those of its last busy hour.
const sweepInterval = 30 * time.Second

// A mark notes which revision was the latest at some time.
type mark struct {
	at       time.Time
	revision int64
}

// sweepLocked trims all rings, and moves the revision up to which past states are given out. That one
// follows the clock, not the rings: clients rely on a list's continue token to end, also where nothing
// changes.
func (s *Store) sweepLocked(now time.Time) {
	if n := len(s.marks); n > 0 && now.Sub(s.marks[n-1].at) < sweepInterval {
		return
	}
	s.marks = append(s.marks, mark{now, s.revision})
	for now.Sub(s.marks[0].at) > s.options.RingAge {
		s.compacted = s.marks[0].revision
		s.marks = s.marks[1:]
	}
	for _, t := range s.tables {
		t.ring.trim(now)
		t.forgetPastLocked()
	}
}

// fail makes the store read-only. Reserved states never were.
func (s *Store) fail(cause error) {
	s.reserve.Lock()
	defer s.reserve.Unlock()
	if s.failure == nil || s.failure == ErrClosed {
		s.failure = fmt.Errorf("%w: its log failed; free the disk or repair it, then restart: %w", ErrReadOnly, cause)
	}
	clear(s.reserved)
}
