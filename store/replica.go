package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"clipper/store/log"
)

const (
	// followPause is how long a replica waits before it follows again after the log has failed it.
	followPause = 100 * time.Millisecond
	// progressAfter is how long a reader waits for the log to tell how far it is before it asks, and asks
	// again. Mostly a change comes first that tells.
	progressAfter = 5 * time.Millisecond
	progressAgain = 100 * time.Millisecond
)

// A replica is the writer of a log that others write to as well: the log decides, and the tables follow it. A
// write is acknowledged when its change has come back, so that whoever wrote sees it.
type replica struct {
	s     *Store
	log   log.Shared
	reads rounds

	ctx    context.Context // ends when the store closes
	cancel context.CancelFunc

	mu    sync.Mutex
	fault error     // why the log cannot be followed at the moment
	asked time.Time // for progress
}

func newReplica(s *Store, l log.Shared) *replica {
	r := &replica{s: s, log: l}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.reads = newRounds(l.Revision)
	return r
}

// Commit implements Committer.
func (r *replica) Commit(ctx context.Context, w Write) (*Item, error) {
	if r.ctx.Err() != nil {
		return nil, ErrClosed
	}
	path, value, err := r.s.encode(ctx, w)
	if err != nil {
		return nil, err
	}
	old, _ := r.s.Get(w.Key)
	out, err := r.log.Write(ctx, log.Change{Key: path, Value: value, TTL: r.s.options.TTL[w.Key.Resource]}, w.Expect)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", path, err)
	}
	if err := r.await(ctx, out.Revision); err != nil {
		return nil, fmt.Errorf("commit %s: decided at revision %d, not seen yet: %w", path, out.Revision, err)
	}
	if !out.Written {
		return nil, r.conflict(w, out)
	}
	return r.written(w, out.Revision, old, len(value))
}

// conflict returns the state that a write met.
func (r *replica) conflict(w Write, out log.Outcome) error {
	if out.Current == nil {
		return &ConflictError{}
	}
	if it, ok := r.s.Get(w.Key); ok && it.Revision == out.Current.Revision {
		return &ConflictError{Current: it}
	}
	it, err := r.s.decode(*out.Current) // it has been overwritten meanwhile
	if w.Expect == 0 && r.s.puzzle(*out.Current, err) != nil {
		return &ConflictError{} // it is there: that is all a creator needs to know
	}
	if err != nil {
		return fmt.Errorf("key %s: %w", out.Current.Key, err)
	}
	return &ConflictError{Current: it}
}

// written returns the item of a write that was made at revision. old is the state before it.
func (r *replica) written(w Write, revision int64, old *Item, size int) (*Item, error) {
	if w.Object == nil {
		if revisionOf(old) != w.Expect {
			return nil, fmt.Errorf("delete %s: done at revision %d; its last state is not known here", w.Key.Path(), revision)
		}
		return lastState(old, revision), nil
	}
	w.Object.SetResourceVersion(formatRevision(revision))
	if it, ok := r.s.Get(w.Key); ok && it.Revision == revision {
		return it, nil
	}
	it := &Item{Key: w.Key, Revision: revision, Created: revision, Object: w.Object, size: size}
	if old != nil && w.Expect != 0 {
		it.Created = old.Created
	}
	return it, r.s.remember(it)
}

// await implements writer. A revision may be of a key that is none of ours, so that no change will come of it.
func (r *replica) await(ctx context.Context, revision int64) error {
	for pause := progressAfter; r.s.Revision() < revision; pause = progressAgain {
		waiting, cancel := context.WithTimeout(ctx, pause)
		err := r.s.waitPublished(waiting, revision)
		cancel()
		switch {
		case err == nil, errors.Is(err, ErrClosed):
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("wait for revision %d, the store is at %d: %w", revision, r.s.Revision(), ctx.Err())
		}
		r.askProgress(ctx)
	}
	return nil
}

// askProgress asks the log how far it is, for all who wait.
func (r *replica) askProgress(ctx context.Context) {
	r.mu.Lock()
	now := time.Now()
	again := now.Sub(r.asked) >= progressAfter
	if again {
		r.asked = now
	}
	r.mu.Unlock()
	if !again {
		return
	}
	if err := r.log.Progress(ctx); err != nil && ctx.Err() == nil {
		slog.Debug("the log does not say how far it is", "err", err)
	}
}

// fresh implements writer: it learns the log's revision and waits until the tables show it.
func (r *replica) fresh(ctx context.Context) error {
	revision, err := r.reads.join(ctx)
	if errors.Is(err, ErrClosed) {
		return err
	}
	if err != nil {
		return fmt.Errorf("read the log's revision: %w", err)
	}
	return r.await(ctx, revision)
}

func (r *replica) readAll(ctx context.Context) func(func(log.Entry) error) (int64, error) {
	return func(fn func(log.Entry) error) (int64, error) { return r.log.Read(ctx, r.s.options.Root, 0, fn) }
}

func (r *replica) readAt(ctx context.Context, under string, revision int64, fn func(log.Entry) error) error {
	_, err := r.log.Read(ctx, under, revision, fn)
	switch {
	case errors.Is(err, log.ErrCompacted):
		return ErrCompacted
	case errors.Is(err, log.ErrFuture):
		return ErrFuture
	}
	return err
}

// run follows the log until the store closes.
func (r *replica) run() error {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { r.reads.run(r.ctx) })
	parts.Go(func() { _ = r.log.Run(r.ctx) }) // it ends with r.ctx only
	for r.ctx.Err() == nil {
		err := r.log.Follow(r.ctx, r.s.Revision(), r.apply)
		if errors.Is(err, log.ErrCompacted) {
			err = r.resync()
		}
		if r.ctx.Err() != nil {
			break
		}
		if r.setFault(err); err == nil {
			continue
		}
		select {
		case <-time.After(followPause):
		case <-r.ctx.Done():
		}
	}
	return nil
}

// setFault remembers why the log cannot be followed, and logs it when that changes.
func (r *replica) setFault(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil && (r.fault == nil || r.fault.Error() != err.Error()):
		slog.Warn("the store's log cannot be followed; reads that may be stale go on, others wait", "err", err)
	case err == nil && r.fault != nil:
		slog.Info("the store's log is followed again")
	}
	r.fault = err
}

// apply publishes what the log has told.
func (r *replica) apply(entries []log.Entry, revision int64) error {
	r.setFault(nil)
	if revision <= r.s.Revision() {
		return nil // the answer to an older question
	}
	events := make([]*Event, 0, len(entries))
	pending := map[Key]*Item{} // of this batch
	for _, e := range entries {
		k, it, ok := r.adopt(e)
		if !ok {
			continue
		}
		old, seen := pending[k]
		if !seen {
			old, _ = r.s.Get(k)
		}
		pending[k] = it
		switch {
		case it != nil:
			events = append(events, &Event{Revision: e.Revision, Old: old, New: it})
		case old == nil:
			r.s.gone(k, e.Revision)
		default:
			last := lastState(old, e.Revision)
			if err := r.s.remember(last); err != nil {
				return err
			}
			events = append(events, &Event{Revision: e.Revision, Old: old, Last: last})
		}
	}
	r.s.publish(events, revision)
	return nil
}

// adopt decodes an entry; ok is false for what the store has nothing to do with, or cannot read. A nil item
// means that the key is gone.
func (r *replica) adopt(e log.Entry) (k Key, it *Item, ok bool) {
	k, err := r.s.keyAt(e.Key)
	if err != nil {
		return k, nil, false
	}
	if e.Value != nil {
		it, err = r.s.adopt(e)
	}
	if p := r.s.puzzle(e, err); p != nil {
		r.s.markUnreadable(p)
		return k, nil, false
	}
	if err != nil {
		slog.Error("a change is not shown", "key", e.Key, "revision", e.Revision, "err", err)
		return k, nil, false
	}
	return k, it, it != nil || e.Value == nil
}

// adopt decodes an entry of a log that others write to; nil is what others put there for themselves.
func (s *Store) adopt(e log.Entry) (*Item, error) {
	k, err := s.keyAt(e.Key)
	if err != nil {
		return nil, nil
	}
	it, err := s.decode(e)
	if _, known := s.options.Resources[k.Resource]; known || s.puzzle(e, err) != nil {
		return it, err
	}
	// Custom resources can be there without being known; they carry the group that their key names.
	if err != nil || it.Object.GetObjectKind().GroupVersionKind().Group != s.groupResource(k.Resource).Group {
		return nil, nil
	}
	return it, nil
}

// resync takes over the log's present state. What happened since the last revision that was followed is known
// only as a net difference, so that every watch starts anew.
func (r *replica) resync() error {
	found, revision, err := r.s.load(r.readAll(r.ctx), r.s.adopt)
	if err != nil {
		return fmt.Errorf("read the log's state again: %w", err)
	}
	slog.Warn("history was compacted before it was read; watches start anew", "after", r.s.Revision(), "revision", revision)
	r.s.replaceAll(found, revision)
	return nil
}

// healthy implements writer.
func (r *replica) healthy(ctx context.Context) error {
	r.mu.Lock()
	err := r.fault
	r.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = r.log.Revision(ctx)
	return err
}

func (r *replica) stop() { r.cancel() }

func (r *replica) close() error { return r.log.Close() }

// replaceAll publishes a whole state. Items that are there already, at the same revision, stay the same.
func (s *Store) replaceAll(found content, revision int64) {
	for _, p := range found.puzzles {
		p.report()
	}
	byResource := map[string][]*Item{}
	for _, it := range found.items {
		byResource[it.Key.Resource] = append(byResource[it.Key.Resource], it)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for resource := range byResource {
		s.tableLocked(resource)
	}
	for resource, t := range s.tables {
		t.resetLocked(byResource[resource], revision)
	}
	s.revision, s.opened, s.compacted, s.marks = revision, revision, revision, nil
	s.unreadable = nil
	for _, p := range found.puzzles {
		s.markLocked(p)
	}
	for _, t := range s.tables {
		t.wake.broadcastLocked()
	}
	s.wake.broadcastLocked()
}

// resetLocked makes items the table's state. Nothing is known of how it came about: the ring begins anew.
func (t *table) resetLocked(items []*Item, revision int64) {
	had := t.tree.Copy()
	t.tree.Clear()
	for _, ix := range t.indexes {
		ix.tree.Clear()
	}
	for _, it := range items {
		if old, ok := had.Get(it); ok && old.Revision == it.Revision {
			it = old
		}
		it.Key.Resource = t.resource
		replace(t.tree, t.indexes, nil, it)
	}
	t.ring.reset(revision)
	t.frozen, t.past = nil, nil
}
