package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"clipper/store/log"
)

// ErrNotEmpty: there is a state already where another one was to be put.
var ErrNotEmpty = errors.New("it holds a state already")

// A Filling is a state that is put into a cluster that has none.
type Filling struct {
	// ID tells this filling from others. Who calls Fill again with the same one goes on where a crash has ended it.
	ID string
	// Mark is the key that says how far it is; outside of the state.
	Mark string
	// Revision is the state's. All of it gets later ones, so that clients never see a number go down.
	Revision int64
	// Read calls fn with everything that there is.
	Read func(fn func(log.Change) error) error
}

// What Mark may say, before the ID.
const (
	begun = "begun "
	done  = "done "
)

// fillers is how many writes are under way at a time: etcd makes those durable together that it has at a time.
const fillers = 64

// Fill puts a state under the log's prefix, of which nobody may make use before Fill returns. It returns ErrNotEmpty if
// anybody else has put something there.
func (l *Log) Fill(ctx context.Context, f Filling) error {
	finished, err := l.beginFill(ctx, f)
	if err != nil || finished {
		return err
	}
	if err := l.raise(ctx, f); err != nil {
		return fmt.Errorf("raise etcd's revision to %d: %w", f.Revision, fault(ctx, err))
	}
	if err := l.putAll(ctx, f); err != nil {
		return err
	}
	resp, err := l.client.Put(ctx, f.Mark, done+f.ID)
	if err != nil {
		return fault(ctx, err)
	}
	// Nothing is known of how the state came about: whoever watches from a revision before begins anew.
	if _, err := l.client.Compact(ctx, resp.Header.Revision); err != nil {
		return fault(ctx, err)
	}
	return nil
}

// beginFill marks a filling as begun, and removes what an earlier attempt at it has left.
func (l *Log) beginFill(ctx context.Context, f Filling) (finished bool, err error) {
	mark, err := l.client.Get(ctx, f.Mark)
	if err != nil {
		return false, fault(ctx, err)
	}
	state, revision := "", int64(0)
	for _, kv := range mark.Kvs {
		state, revision = string(kv.Value), kv.ModRevision
	}
	switch state {
	case done + f.ID:
		return true, nil
	case begun + f.ID:
		if _, err := l.client.Delete(ctx, l.root, clientv3.WithPrefix()); err != nil {
			return false, fault(ctx, err)
		}
		return false, nil
	}
	there, err := l.client.Get(ctx, l.root, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return false, fault(ctx, err)
	}
	if there.Count > 0 {
		return false, fmt.Errorf("etcd %s: %d keys below %s: %w", l.name(), there.Count, l.root, ErrNotEmpty)
	}
	resp, err := l.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(f.Mark), "=", revision)).Then(clientv3.OpPut(f.Mark, begun+f.ID)).Commit()
	if err != nil {
		return false, fault(ctx, err)
	}
	if !resp.Succeeded {
		return false, fmt.Errorf("etcd %s: somebody else fills it: %w", l.name(), ErrNotEmpty)
	}
	return false, nil
}

// raise uses up revisions: etcd cannot be told to skip them.
func (l *Log) raise(ctx context.Context, f Filling) error {
	now, err := l.Revision(ctx)
	if err != nil || now >= f.Revision {
		return err
	}
	slog.Info("using up etcd's revisions, as the state is at a later one", "from", now, "to", f.Revision)
	writers, ctx := errgroup.WithContext(ctx)
	writers.SetLimit(fillers)
	for range f.Revision - now {
		if ctx.Err() != nil {
			break
		}
		writers.Go(func() error {
			_, err := l.client.Put(ctx, f.Mark, begun+f.ID)
			return err
		})
	}
	return writers.Wait()
}

func (l *Log) putAll(ctx context.Context, f Filling) error {
	writers, ctx := errgroup.WithContext(ctx)
	writers.SetLimit(fillers)
	err := f.Read(func(c log.Change) error {
		op, err := l.put(ctx, c) // it copies the value
		if err != nil {
			return fault(ctx, err)
		}
		writers.Go(func() error {
			if _, err := l.client.Do(ctx, op); err != nil {
				return fmt.Errorf("put %s: %w", c.Key, fault(ctx, err))
			}
			return nil
		})
		return ctx.Err()
	})
	if werr := writers.Wait(); werr != nil {
		return werr
	}
	return err
}
