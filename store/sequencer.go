package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"clipper/store/log"
)

// A sequencer is the writer of a log that is the store's own. It decides about preconditions and gives out
// revisions itself, under a short lock, before anything is durable.
type sequencer struct {
	s   *Store
	log log.Log

	// mu guards what writers agree on before it is durable. Taken before the store's, never after.
	mu       sync.Mutex
	next     int64               // revision of the next write
	reserved map[Key]reservation // states on their way to the log
	forming  *group              // writes for the next append
	failure  error               // set once the log has failed or the store was closed

	ready  chan struct{} // tells run that forming is not empty; capacity 1
	expiry *expiry       // run's own
}

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

func newSequencer(s *Store, l log.Log) *sequencer {
	return &sequencer{
		s: s, log: l, next: s.revision + 1,
		reserved: map[Key]reservation{},
		forming:  newGroup(),
		ready:    make(chan struct{}, 1),
		expiry:   newExpiry(s),
	}
}

// Commit implements Committer.
func (q *sequencer) Commit(ctx context.Context, w Write) (*Item, error) {
	path, value, err := q.s.encode(ctx, w) // outside of every lock
	if err != nil {
		return nil, err
	}
	it, g, err := q.enter(w, log.Entry{Key: path, Value: value}, q.s.mark(value))
	if g == nil {
		return nil, err
	}
	select {
	case <-g.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("commit %s: outcome unknown: %w", path, ctx.Err())
	}
	if g.err != nil {
		return nil, g.err
	}
	return it, err
}

// enter checks w's precondition against the latest reserved state, gives it its revision and adds it to
// the group that forms. A conflict with a state that is not durable yet comes with that state's group: who
// is told of it before could tell others, and a crash would make it untrue.
func (q *sequencer) enter(w Write, entry log.Entry, mark sealMark) (*Item, *group, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failure != nil {
		return nil, nil, q.failure
	}
	old := q.latest(w.Key)
	if old == nil && q.s.hides(w.Key) {
		return nil, nil, &ConflictError{}
	}
	if have := revisionOf(old); have != w.Expect || old == nil && w.Object == nil {
		return nil, q.reserved[w.Key].group, &ConflictError{Current: old}
	}
	e := q.event(w, old, len(entry.Value), mark)
	if err := q.s.remember(e.newest()); err != nil {
		return nil, nil, err
	}
	q.next++
	g := q.forming
	q.reserved[w.Key] = reservation{e.Revision, e.New, g}
	entry.Revision, entry.Created = e.Revision, e.newest().Created
	g.entries, g.events = append(g.entries, entry), append(g.events, e)
	select {
	case q.ready <- struct{}{}:
	default: // it has been told
	}
	return e.newest(), g, nil
}

// event makes w's change with the next revision.
func (q *sequencer) event(w Write, old *Item, size int, mark sealMark) *Event {
	e := &Event{Revision: q.next, Old: old}
	if w.Object == nil {
		e.Last = lastState(old, q.next)
		return e
	}
	it := &Item{Key: w.Key, Revision: q.next, Created: q.next, Object: w.Object, size: size, mark: mark}
	if old != nil {
		it.Key, it.Created = old.Key, old.Created
	} else {
		it.Key.Namespace, it.Key.Name = w.Object.GetNamespace(), w.Object.GetName()
	}
	it.Object.SetResourceVersion(formatRevision(it.Revision))
	e.New = it
	return e
}

// latest returns the newest state of a key, published or not; nil if it is absent.
func (q *sequencer) latest(k Key) *Item {
	if r, ok := q.reserved[k]; ok {
		return r.item
	}
	it, _ := q.s.Get(k)
	return it
}

// run appends group after group, each formed while the one before it was being synced, and publishes them
// in order.
func (q *sequencer) run() error {
	for {
		select {
		case <-q.ready:
		case now := <-q.expiry.elapsed():
			q.expire(now)
		case <-q.s.closing:
			q.flush() // nothing can enter any more
			return nil
		}
		q.flush()
	}
}

func (q *sequencer) flush() {
	q.mu.Lock()
	g, err := q.forming, q.failure
	q.forming = newGroup()
	q.mu.Unlock()
	if len(g.events) == 0 {
		return
	}
	last := g.events[len(g.events)-1].Revision
	if err == nil || err == ErrClosed { // what entered before stop is still written
		err = q.log.Append(last, g.entries)
	}
	if err != nil {
		q.fail(err)
		g.err = q.failure
	} else {
		q.s.publish(g.events, last)
		q.release(g)
		q.expiry.published(g.events, time.Now())
	}
	close(g.done)
}

// release forgets the reservations of a published group.
func (q *sequencer) release(g *group) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range g.events {
		if k := e.newest().Key; q.reserved[k].revision == e.Revision {
			delete(q.reserved, k)
		}
	}
}

// fail makes the store read-only. Reserved states never were.
func (q *sequencer) fail(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failure == nil || q.failure == ErrClosed {
		q.failure = fmt.Errorf("%w: its log failed; free the disk or repair it, then restart: %w", ErrReadOnly, cause)
	}
	clear(q.reserved)
}

// fresh has nothing to wait for: nobody is told of a write before it is published here.
func (q *sequencer) fresh(context.Context) error { return nil }

// await implements writer: whatever revision there is was given out here.
func (q *sequencer) await(ctx context.Context, revision int64) error {
	return q.s.waitPublished(ctx, revision)
}

// readAt never helps: the log keeps the latest state alone.
func (q *sequencer) readAt(context.Context, string, int64, func(log.Entry) error) error {
	return ErrCompacted
}

func (q *sequencer) healthy(context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failure
}

func (q *sequencer) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failure == nil {
		q.failure = ErrClosed
	}
}

func (q *sequencer) close() error { return q.log.Close() }
