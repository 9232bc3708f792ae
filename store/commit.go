package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"clipper/api"
	"clipper/store/log"
)

// A writer makes changes durable and publishes them: alone (sequencer), or together with others (replica).
type writer interface {
	Committer
	// fresh returns when the tables show every write that anyone was told of before the call.
	fresh(ctx context.Context) error
	// await returns when revision has been published.
	await(ctx context.Context, revision int64) error
	// readAt calls fn with the entries below a prefix as they were at a revision that the tables cannot show
	// any more. It returns ErrCompacted if nobody can.
	readAt(ctx context.Context, under string, revision int64, fn func(log.Entry) error) error
	// healthy says why writes cannot be expected to work.
	healthy(ctx context.Context) error
	// run publishes until the store closes.
	run() error
	// stop refuses writes from now on; those under way are finished.
	stop()
	close() error
}

// Commit implements Committer.
func (s *Store) Commit(ctx context.Context, w Write) (*Item, error) {
	s = s.Of(w.Key.Resource)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	operation, begun := w.operation(), time.Now()
	it, err := s.writer.Commit(ctx, w)
	s.committed(&w, operation, begun, err)
	return it, err
}

// encode makes the log's form of w: a value, nil to delete. A trace that ctx belongs to tells of its encryption.
func (s *Store) encode(ctx context.Context, w Write) (path string, value []byte, err error) {
	path = s.path(w.Key)
	if w.Object == nil {
		return path, nil, nil
	}
	if err := w.Key.check(s.options.Resources); err != nil {
		return path, nil, err
	}
	w.Object.SetResourceVersion("")
	plain, err := s.options.Codec.Encode(w.Key, w.Object)
	if err != nil {
		return path, nil, fmt.Errorf("encode %s: %w", path, err)
	}
	value, err = s.seal(ctx, w.Key.Resource, path, plain)
	return path, value, err
}

// lastState is what watchers see of an object that a deletion at revision removed: what was stored, with the
// deletion's resourceVersion.
func lastState(old *Item, revision int64) *Item {
	it := &Item{Key: old.Key, Revision: revision, Created: old.Created, Object: old.Object.DeepCopyObject().(api.Object), size: old.size, mark: old.mark}
	it.Object.SetResourceVersion(formatRevision(revision))
	return it
}

func revisionOf(it *Item) int64 {
	if it == nil {
		return 0
	}
	return it.Revision
}

func formatRevision(r int64) string { return strconv.FormatInt(r, 10) }
