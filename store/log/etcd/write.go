package etcd

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"clipper/store/log"
)

// A write that is on its way to a leader of etcd that dies is lost, and etcd says so only after seven seconds. A server
// that runs a member learns of the next leader much earlier, and makes the same transaction again. Both have the same
// condition, so that one of them at most takes effect, whichever comes first.

var errNewLeader = errors.New("etcd has a new leader")

// electionPause is how long a read waits before it asks a member again that has no leader.
const electionPause = 20 * time.Millisecond

// A term is the time of one leader, as far as this process knows: its context ends with the next leader.
type term struct {
	mu  sync.Mutex
	ctx context.Context
	end context.CancelCauseFunc
}

// now returns the context of the present term.
func (t *term) now() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil {
		t.ctx, t.end = context.WithCancelCause(context.Background())
	}
	return t.ctx
}

func (t *term) next() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end != nil {
		t.end(errNewLeader)
	}
	t.ctx, t.end = nil, nil
}

// follow notes every new leader, until ctx ends.
func (t *term) follow(ctx context.Context, changed func() <-chan struct{}) {
	for {
		select {
		case <-changed():
			t.next()
		case <-ctx.Done():
			return
		}
	}
}

// Write implements log.Shared.
func (l *Log) Write(ctx context.Context, c log.Change, expect int64) (log.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	if l.leaderChanged == nil {
		return l.write(ctx, c, expect)
	}
	attempt, end := context.WithCancelCause(ctx)
	defer end(nil)
	stop := context.AfterFunc(l.term.now(), func() { end(errNewLeader) })
	defer stop()
	out, err := l.write(attempt, c, expect)
	if err == nil || context.Cause(attempt) != errNewLeader {
		return out, err
	}
	out, again := l.write(ctx, c, expect)
	if again != nil || out.Written {
		return out, again
	}
	if out.Current != nil && c.Value != nil && bytes.Equal(out.Current.Value, c.Value) {
		return log.Outcome{Written: true, Revision: out.Current.Revision}, nil // the first attempt has come through
	}
	return log.Outcome{}, &log.FaultError{Err: rpctypes.ErrTimeoutDueToLeaderFail} // nobody can tell what has
}

// write makes one attempt.
func (l *Log) write(ctx context.Context, c log.Change, expect int64) (log.Outcome, error) {
	op := clientv3.OpDelete(c.Key)
	if c.Value != nil {
		put, err := l.put(ctx, c)
		if err != nil {
			return log.Outcome{}, fault(ctx, err)
		}
		op = put
	} else if expect == 0 {
		op = clientv3.OpGet(c.Key) // deleting what does not exist changes nothing
	}
	resp, err := l.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(c.Key), "=", expect)).
		Then(op).
		Else(clientv3.OpGet(c.Key)).
		Commit()
	if err != nil {
		return log.Outcome{}, fault(ctx, err)
	}
	out := log.Outcome{Written: resp.Succeeded && !op.IsGet(), Revision: resp.Header.Revision}
	if !resp.Succeeded {
		for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
			out.Current = &log.Entry{Key: c.Key, Value: kv.Value, Created: kv.CreateRevision, Revision: kv.ModRevision}
		}
	}
	return out, nil
}

// Revision implements log.Shared. It is a linearizable read of a key that need not exist, as upstream's. A read does no
// harm when it is made twice: one that an election has cut short is.
func (l *Log) Revision(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	for {
		resp, err := l.client.Get(ctx, l.root+"health", clientv3.WithCountOnly())
		if err == nil {
			return resp.Header.Revision, nil
		}
		if !errors.Is(err, rpctypes.ErrLeaderChanged) && !errors.Is(err, rpctypes.ErrNoLeader) {
			return 0, fault(ctx, err)
		}
		select {
		case <-time.After(electionPause):
		case <-ctx.Done():
			return 0, fault(ctx, err)
		}
	}
}
