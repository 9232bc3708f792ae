// Package expiry deletes events some time after they were last written. etcd forgets them by itself; a
// store of its own does not, and has this in its place. Looking at all events once a minute costs less than
// a timer for each.
package expiry

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"clipper/store"
)

const (
	// events is their storage prefix.
	events = "events"
	// often bounds how much longer than they should events stay.
	often = time.Minute
	// parallel is how many deletions are under way at once: they share the log's group commits.
	parallel = 32
)

// A Store is where the events are.
type Store interface {
	store.Committer
	Snapshot(resource string) store.Snapshot
}

// Run deletes what nobody has written to for ttl, until ctx ends.
func Run(ctx context.Context, s Store, ttl time.Duration) error {
	tick := time.NewTicker(min(often, ttl))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			if err := sweep(ctx, s, now.Add(-ttl)); err != nil && ctx.Err() == nil {
				slog.Warn("old events not deleted; trying again in a while", "err", err)
			}
		}
	}
}

// sweep deletes the events that are older than the limit.
func sweep(ctx context.Context, s Store, limit time.Time) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	s.Snapshot(events).Ascend("", store.Key{}, func(item *store.Item) bool {
		if e, ok := item.Object.(*corev1.Event); ok && written(e).Before(limit) {
			group.Go(func() error { return remove(ctx, s, item) })
		}
		return ctx.Err() == nil
	})
	return group.Wait()
}

func remove(ctx context.Context, s Store, item *store.Item) error {
	_, err := s.Commit(ctx, store.Write{Key: item.Key, Expect: item.Revision})
	if conflict := (*store.ConflictError)(nil); errors.As(err, &conflict) {
		return nil // it has been written again, or is gone
	}
	return err
}

// written is when the event was last written, as far as it says.
func written(e *corev1.Event) time.Time {
	last := e.CreationTimestamp.Time
	later := func(t time.Time) {
		if t.After(last) {
			last = t
		}
	}
	for _, m := range e.ManagedFields {
		if m.Time != nil {
			later(m.Time.Time)
		}
	}
	return last
}
