package etcd

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"clipper/store/log"
)

// Claim writes a value under a key that nobody has written before, and returns "" then; else what is there. Only one
// of several that claim the same key at a time succeeds. The key goes after ttl; 0: never.
func (l *Log) Claim(ctx context.Context, key, value string, ttl time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	put, err := l.put(ctx, log.Change{Key: key, Value: []byte(value), TTL: ttl})
	if err != nil {
		return "", fmt.Errorf("etcd %s: claim %s: %w", l.name(), key, fault(ctx, err))
	}
	resp, err := l.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(put).
		Else(clientv3.OpGet(key)).
		Commit()
	if err != nil {
		return "", fmt.Errorf("etcd %s: claim %s: %w", l.name(), key, fault(ctx, err))
	}
	if resp.Succeeded {
		return "", nil
	}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		return string(kv.Value), nil
	}
	return "", nil
}

// Release removes a key that was claimed with a value, if it still has it.
func (l *Log) Release(ctx context.Context, key, value string) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	_, err := l.client.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), "=", value)).Then(clientv3.OpDelete(key)).Commit()
	if err != nil {
		return fmt.Errorf("etcd %s: release %s: %w", l.name(), key, fault(ctx, err))
	}
	return nil
}
