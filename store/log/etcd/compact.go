package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// compactKey is where the servers of a cluster agree on who compacts. It is upstream's: servers of both kinds
// beside each other take turns.
const compactKey = "compact_rev_key"

// A compactor throws history away up to what was current one interval ago. Servers do not elect one of them:
// the key's version counts compactions, and whoever raises it first compacts. The others learn of it when they
// fail, and come again after an interval.
type compactor struct {
	client *clientv3.Client

	version  int64 // of compactKey as last seen
	revision int64 // that was current then
}

// Run implements log.Shared: it compacts, and notes new leaders, until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	var leaders sync.WaitGroup
	defer leaders.Wait()
	if l.leaderChanged != nil {
		leaders.Go(func() { l.term.follow(ctx, l.leaderChanged) })
	}
	if l.compaction < 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	c := compactor{client: l.client}
	tick := time.NewTicker(l.compaction)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := c.turn(ctx); err != nil && ctx.Err() == nil {
			slog.Warn("etcd not compacted; will be tried again", "etcd", l.name(), "err", err)
		}
	}
}

// turn compacts if nobody else has since the last turn.
func (c *compactor) turn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	resp, err := c.client.Txn(ctx).
		If(clientv3.Compare(clientv3.Version(compactKey), "=", c.version)).
		Then(clientv3.OpPut(compactKey, strconv.FormatInt(c.revision, 10))).
		Else(clientv3.OpGet(compactKey)).
		Commit()
	if err != nil {
		return fmt.Errorf("agree on a compaction: %w", err)
	}
	upTo := c.revision
	c.revision = resp.Header.Revision
	if !resp.Succeeded {
		for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
			c.version = kv.Version
		}
		return nil
	}
	c.version++
	if upTo == 0 {
		return nil // the first turn only learns what is current
	}
	if _, err := c.client.Compact(ctx, upTo); err != nil {
		return fmt.Errorf("compact up to revision %d: %w", upTo, err)
	}
	return nil
}
