package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"clipper/store/log"
)

var errEnded = errors.New("etcd: the watch ended")

// Follow implements log.Shared. A member that has lost its leader ends the watch, so that another one is asked.
func (l *Log) Follow(ctx context.Context, after int64, fn func([]log.Entry, int64) error) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	changes := l.client.Watch(ctx, l.root, clientv3.WithPrefix(), clientv3.WithRev(after+1),
		clientv3.WithFragment(), clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	for resp := range changes {
		switch err := resp.Err(); {
		case errors.Is(err, rpctypes.ErrCompacted):
			return log.ErrCompacted
		case err != nil:
			return fault(ctx, err)
		}
		// The header of a late answer names a revision beyond its events; only without events is it true
		// that nothing else is to come before it.
		revision := resp.Header.Revision
		switch n := len(resp.Events); {
		case n > 0:
			revision = resp.Events[n-1].Kv.ModRevision
		case resp.Created:
			revision = after // a member with a leader has taken the watch; what is new comes later
		case !resp.IsProgressNotify():
			continue
		}
		if err := fn(entries(resp.Events), revision); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &log.FaultError{Err: errEnded}
}

func entries(events []*clientv3.Event) []log.Entry {
	out := make([]log.Entry, len(events))
	for i, e := range events {
		out[i] = log.Entry{Key: string(e.Kv.Key), Created: e.Kv.CreateRevision, Revision: e.Kv.ModRevision}
		if e.Type == clientv3.EventTypePut {
			out[i].Value = append([]byte{}, e.Kv.Value...) // nil would mean that it is gone
		}
	}
	return out
}

// Progress implements log.Shared. The answer comes through the watch of Follow: both are on one stream because
// both ask for a leader.
func (l *Log) Progress(ctx context.Context) error {
	if err := l.client.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
		return fault(ctx, err)
	}
	return nil
}
